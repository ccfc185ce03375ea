"""What a run leaves behind: its summary, its tables, its report, and what trackers are told."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from raytrain import __version__
from raytrain.cluster.runner import Tally, failure_row
from raytrain.data import Frame
from raytrain.data.diagnostics.store import write_diagnostics
from raytrain.data.frame import DATE
from raytrain.deploy.of_run import Bundled
from raytrain.evaluation.gates.decision import Decision
from raytrain.evaluation.gates.decisions_file import to_json, write_decisions
from raytrain.features.correlations.cache import CorrelationCache
from raytrain.features.correlations.table import Correlations, correlate
from raytrain.machine.detect import detect
from raytrain.pipeline.prepared import Prepared, memory_of
from raytrain.pipeline.verdict import Judged
from raytrain.report.run_folder import RunFolder
from raytrain.report.view import RunView
from raytrain.run_config import RunConfig
from raytrain.tracking.of_run import record_of
from raytrain.tracking.track import track
from raytrain.work.plan import Plan


def summarise(run: Prepared, tally: Tally, decisions: Sequence[Decision]) -> dict[str, Any]:
    """What summary.json says about the fits, the gates, the data and the machine."""
    frame = run.frame
    data_hash = frame.content_hash()
    statuses = ("ok", "cached", "failed", "timeout", "oom", "skipped", "stopped")
    counts = {"total": len(tally.rows)} | {status: tally.count(status) for status in statuses}
    broken = counts["total"] - counts["ok"] - counts["cached"]
    return {
        "status": "stopped" if tally.stopped else "partial" if broken else "ok",
        "fits": counts,
        "cpu_s": round(tally.cpu_s, 3),
        "utilisation": round(tally.cpu_s / (tally.busy_s * tally.cores), 4) if tally.busy_s else None,
        "lower_bound_s": round(tally.cpu_s / tally.cores, 3),
        "gates": [to_json(decision) for decision in decisions],
        "failures": [failure_row(failure) for failure in tally.failures],
        "warnings": [*run.warnings, *_asleep(tally)],
        "diagnostics": run.diagnostics.to_json(),
        "targets": [target.model_dump(mode="json") for target in run.config.targets],
        "data_hash": data_hash,
        "data": {
            "source": frame.source,
            "hash": data_hash,
            "rows": frame.table.height,
            "series": frame.series,
            "first_date": str(frame.table[DATE].min()),
            "last_date": str(frame.table[DATE].max()),
        },
        "machine": run.profile.model_dump(),
        "devices": [asdict(election) for election in run.elections],
        "versions": versions(run.plan),
    }


def _asleep(tally: Tally) -> list[str]:
    if not tally.slept_s:
        return []
    return [f"the machine slept {tally.slept_s:.0f} s during the run; times across it teach nothing"]


def versions(plan: Plan) -> dict[str, str]:
    """What computed the results."""
    libraries = {name: found for fit in plan.fits for name, found in fit.spec.packages}
    return {"raytrain": __version__, "python": platform.python_version()} | dict(sorted(libraries.items()))


def correlations_of(frame: Frame, config: RunConfig) -> Correlations | None:
    """How the columns move together, with what is stored of it used again."""
    if config.correlations is None:
        return None
    folder, asked = config.store / "correlations", config.correlations
    cache = CorrelationCache(folder / "cache", timedelta(days=asked.max_age_days), datetime.now(UTC), detect().pcores)
    return correlate(frame, asked, folder, cache)


def write_run(run: Prepared, view: RunView, folder: RunFolder, judged: Judged, bundled: Bundled) -> None:
    """Tables, decisions, summary, tracker, report; `latest` moves last, when everything else is there."""
    config, summary = run.config, view.summary
    folder.write_tables(view)
    write_decisions(folder.path, judged.decisions)
    bundled.write(folder.path)
    write_diagnostics(run.diagnostics, memory_of(run.frame, config.store))
    path = folder.write_summary(summary)
    groups = view.insight.breakdown if view.insight else None
    record = record_of(summary, judged.scores, judged.decisions, run.params, [path], breakdown=groups)
    if notes := track(config.store, config.tracking, record):
        summary["warnings"].extend(notes)
        folder.write_summary(summary)
    folder.write_report(view)
    folder.point_latest()
