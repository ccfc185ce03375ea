"""The whole program on one page: data -> features -> folds -> plan -> fits -> scores -> gates -> forecast -> report."""

import hashlib
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import time as TimeOfDay
from pathlib import Path
from typing import Any

import polars as pl

from raytrain import __version__, data
from raytrain.cluster.driver import Status
from raytrain.cluster.ray_cluster import Cluster, require_cluster
from raytrain.cluster.runner import Runner, Tally, capacity_of_machine, expect, failure_row, learned_costs
from raytrain.data import Frame
from raytrain.data.diagnostics import Diagnostics
from raytrain.data.diagnostics.store import last_schema, write_diagnostics
from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import Device
from raytrain.errors import DataError
from raytrain.evaluation.champions import Champions, best_families
from raytrain.evaluation.collect import as_forecast, collect
from raytrain.evaluation.decision import Decision
from raytrain.evaluation.gates import decide_all
from raytrain.evaluation.scores import score, score_by_fold
from raytrain.features.build import FeatureTable, build
from raytrain.features.correlations.cache import CorrelationCache
from raytrain.features.correlations.table import Correlations, comparable, correlate
from raytrain.features.diagnostics import diagnose, inputs_of
from raytrain.features.market import known_ahead
from raytrain.features.weights import regime_weights
from raytrain.folds import Fold, latest, walk_forward
from raytrain.machine.awake import keep_awake
from raytrain.machine.detect import detect, overclaims, resolve
from raytrain.machine.profile import MachineProfile
from raytrain.machine.sensors import find_heat_sensor
from raytrain.report.run_folder import RunFolder
from raytrain.report.view import RunView
from raytrain.run_config import RunConfig, adapt, recipes_of
from raytrain.schedule.simulate import Simulation, simulate
from raytrain.tracking.mlflow_store import log_run
from raytrain.tracking.of_run import record_of
from raytrain.tracking.records import TrackingFailed
from raytrain.work.dataset import Dataset
from raytrain.work.lock import hold
from raytrain.work.plan import Plan, PlannedFit, Recipes, make_plan, require_rows, stages
from raytrain.work.presets import ADAPTIVE, next_time
from raytrain.work.store import ResultStore


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that was checked from end to end; nothing is written yet."""

    config: RunConfig
    profile: MachineProfile
    frame: Frame
    dataset: Dataset
    folds: list[Fold]
    recipes: Recipes
    plan: Plan
    diagnostics: Diagnostics
    warnings: tuple[str, ...]

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """Family -> all its parameters."""
        return {recipe.name: recipe.params.model_dump(mode="json") for recipe in self.recipes.recipes}


@dataclass(frozen=True)
class Watcher:
    """What a person who watches is told."""

    status: Callable[[Status], None]
    cluster: Callable[[Cluster], None]
    step: Callable[[str], None]


def prepare(config: RunConfig) -> Prepared:
    """Read, check and plan.

    Raises:
        UserError: the config or the data is wrong; nothing was written.
    """
    require_cluster(config.cluster)
    profile = resolve(config.machine, config.machines)
    recipes = recipes_of(config, slot_device(profile))
    frame = data.load(config.data)
    chosen: list[str] = []
    if config.preset == ADAPTIVE:
        config, why = adapt(config, frame.table.height, profile.memory_gb)
        recipes, chosen = recipes_of(config, slot_device(profile)), [why]
    features = build(frame, config.features)
    diagnostics = look_at(frame, features, config)
    if diagnostics.errors:
        raise DataError("\n".join(map(str, diagnostics.errors)))
    if config.correlations is not None:
        comparable(frame, config.correlations)
    dataset = _dataset(frame, features, config, recipes)
    folds = walk_forward(frame.table[DATE].filter(pl.Series(features.usable)), config.folds)
    require_rows(dataset, folds, config.targets, config.folds)
    plan = make_plan(dataset, folds, recipes)
    warnings = [*chosen, *plan.left_out, *overclaims(profile, detect())]
    warnings += frame.notes
    newest = frame.table[DATE].max()
    ended = frame.table.group_by(SERIES, maintain_order=True).agg(pl.col(DATE).max()).filter(pl.col(DATE) < newest)
    warnings += [f"no forecast for {series}: its last row is of {last:%Y-%m-%d}" for series, last in ended.iter_rows()]
    warnings += map(str, diagnostics.warnings)
    return Prepared(
        config=config,
        profile=profile,
        frame=frame,
        dataset=dataset,
        folds=folds,
        recipes=recipes,
        plan=plan,
        diagnostics=diagnostics,
        warnings=tuple(warnings),
    )


def _dataset(frame: Frame, features: FeatureTable, config: RunConfig, recipes: Recipes) -> Dataset:
    """Features, targets, weights, and what is known ahead where a family wants it."""
    ahead = None
    if any(recipe.family.inputs == "history" for recipe in recipes.recipes):
        ahead = known_ahead(frame, config.features, features, max(target.horizon for target in config.targets))
    weight = None if config.weights is None else regime_weights(frame, config.weights)
    return Dataset.build(frame, features, config.targets, weight=weight, ahead=ahead)


def look_at(frame: Frame, features: FeatureTable, config: RunConfig) -> Diagnostics:
    """What is strange about the data, before anything is trained on it."""
    return diagnose(
        frame,
        config.targets,
        features,
        config.diagnostics,
        inputs=inputs_of(frame, config.features),
        before=last_schema(_memory_of(frame, config.store)),
        weights=config.weights,
    )


def _memory_of(frame: Frame, store: Path) -> Path:
    """Where the last look at this source is kept: another source in the same store has columns of its own."""
    return store / "diagnostics" / hashlib.sha256(frame.source.encode()).hexdigest()[:16]


def slot_device(profile: MachineProfile) -> Device:
    """The device that this process's machine really has behind the slot; an assumed profile cannot conjure one."""
    return profile.slot if profile.slot == detect().slot else "cpu"


def estimate(run: Prepared) -> tuple[Simulation, int]:
    """What the fits that are not stored yet would take, and how many they are."""
    store = ResultStore(run.config.store)
    rest = [fit for fit in run.plan.fits if not store.has(fit.spec.key)]
    plan = expect(rest, store, learned_costs(store), run.config.cluster.timeout_s)
    return simulate(plan.tasks, capacity_of_machine(run.profile), plan.seconds, starts=plan.start_s), len(rest)


def execute(run: Prepared, watcher: Watcher, stop_requested: Callable[[], bool]) -> tuple[RunFolder, RunView]:
    """Fit, judge, forecast, track and report.

    Raises:
        StoreLocked: another run holds the store.
        ClusterLost: Ray went away; what is finished is kept.
    """
    config = run.config
    started, clock = datetime.now(UTC), time.monotonic()
    folder = RunFolder.name(config.store, started)
    with hold(config.store, f"run {folder.run_id}"), keep_awake():
        store = ResultStore(config.store)
        with _runner(run, folder, watcher, _until(config.stop_by, stop_requested)) as runner:
            finished = run_stages(run, runner)
            watcher.step("judging the forecasts")
            predictions = collect(run.frame, config.targets, [fit.spec for fit in finished], store)
            verdict = judge(run, finished, predictions)
            forecast = make_forecast(run, runner, verdict, store)
        found = correlations_of(run.frame, config)
        watcher.step("writing the report")
        times = {"started_at": started.isoformat(timespec="seconds"), "wall_s": round(time.monotonic() - clock, 3)}
        heat = {"heat": str(runner.sensor.read())}
        about: dict[str, Any] = {"run_id": folder.run_id} | times
        summary = about | summarise(run, runner.tally, verdict.decisions) | heat
        view = RunView(
            summary=summary,
            scores=verdict.scores,
            fold_scores=verdict.fold_scores,
            decisions=verdict.decisions,
            predictions=predictions,
            forecast=forecast,
            fits=pl.DataFrame(runner.tally.rows, infer_schema_length=None),
            failures=summary["failures"],
            correlations=found,
        )
        _write(run, view, folder, verdict)
    return folder, view


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Fits that nobody judged."""

    summary: dict[str, Any]
    scores: pl.DataFrame


def train(run: Prepared, watcher: Watcher, stop_requested: Callable[[], bool]) -> Trained:
    """Fit and score the walk-forward; forecast, judge and promote nothing.

    Raises:
        StoreLocked: another run holds the store.
        ClusterLost: Ray went away; what is finished is kept.
    """
    config, store = run.config, ResultStore(run.config.store)
    started, clock = datetime.now(UTC), time.monotonic()
    folder = RunFolder.name(config.store, started)
    with hold(config.store, f"run {folder.run_id}"), keep_awake():
        with _runner(run, folder, watcher, _until(config.stop_by, stop_requested)) as runner:
            finished = run_stages(run, runner)
        predictions = collect(run.frame, config.targets, [fit.spec for fit in finished], store)
        times = {"started_at": started.isoformat(timespec="seconds"), "wall_s": round(time.monotonic() - clock, 3)}
        summary: dict[str, Any] = {"run_id": folder.run_id} | times | summarise(run, runner.tally, ())
        folder.write_summary(summary)
    return Trained(summary=summary, scores=pl.DataFrame() if predictions.is_empty() else _scores(run, predictions))


def _until(clock: TimeOfDay | None, stop_requested: Callable[[], bool]) -> Callable[[], bool]:
    """A stop when somebody asks for it, or when the time has come."""
    if clock is None:
        return stop_requested
    end = next_time(clock, datetime.now())
    return lambda: stop_requested() or datetime.now() >= end


def _runner(run: Prepared, folder: RunFolder, watcher: Watcher, stop_requested: Callable[[], bool]) -> Runner:
    store = ResultStore(run.config.store)
    folder.path.mkdir(parents=True)
    return Runner(
        profile=run.profile,
        config=run.config.cluster,
        store=store,
        dataset=run.dataset.save(store.root / "prepared"),
        stories=folder.path,
        sensor=find_heat_sensor(),
        watch=watcher.status,
        stop_requested=stop_requested,
        announce=watcher.cluster,
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the forecasts were worth and what the gates say."""

    scores: pl.DataFrame
    fold_scores: pl.DataFrame
    decisions: tuple[Decision, ...]
    champions: Champions


def judge(run: Prepared, finished: Sequence[PlannedFit], predictions: pl.DataFrame) -> Judged:
    """Score every family on every target beside naive, and decide."""
    config = run.config
    champions = Champions.read(config.store)
    if predictions.is_empty():
        return Judged(scores=pl.DataFrame(), fold_scores=pl.DataFrame(), decisions=(), champions=champions)
    scores = _scores(run, predictions)
    planned, done = (_forecasts_of(fits) for fits in (run.plan.fits, finished))
    return Judged(
        scores=scores,
        fold_scores=score_by_fold(predictions),
        decisions=decide_all(scores, champions.mape_on(scores, run.params), config.gates, planned - done),
        champions=champions,
    )


def run_stages(run: Prepared, runner: Runner) -> list[PlannedFit]:
    """Bring all fits of the walk-forward to their end; returns those that have a result."""
    return [fit for _, fits in stages(run.plan, run.config.mode) for fit in runner.run(fits)]


def _scores(run: Prepared, predictions: pl.DataFrame) -> pl.DataFrame:
    bars = run.frame.table.select(SERIES, DATE, pl.col(run.frame.price).alias("close"))
    return score(predictions, bars, run.config.data.periods_per_year, confidence=run.config.gates.confidence)


def _forecasts_of(fits: Sequence[PlannedFit]) -> Counter[tuple[str, str]]:
    """(target, family) -> how many fits forecast it."""
    return Counter((target, fit.spec.family) for fit in fits for target in fit.spec.target_names)


def make_forecast(run: Prepared, runner: Runner, judged: Judged, store: ResultStore) -> pl.DataFrame:
    """Refit the best recipe of each target on everything known and predict from the newest row."""
    best = best_families(judged.decisions, judged.scores)
    plan = plan_forecast(run, best)
    specs = [fit.spec for fit in runner.run(plan.fits) if fit.spec.family in best.values()]
    forecasts = collect(run.frame, run.config.targets, specs, store)
    if not forecasts.is_empty():
        forecasts = forecasts.filter(pl.col("family") == pl.col("target").replace_strict(best, default=None))
    verdicts = {(one.target, one.family): one.verdict for one in judged.decisions}
    return as_forecast(forecasts, verdicts)


def plan_forecast(run: Prepared, best: Mapping[str, str]) -> Plan:
    """The fits on all rows that the best family of each target needs: its own, and those of the families it mixes.

    Args:
        run: the run.
        best: target -> family.
    """
    fold = latest(run.frame.table[DATE], run.config.folds)
    everything = make_plan(run.dataset, [fold], run.recipes, earlier=run.plan)
    wanted = [
        fit for fit in everything.fits if any(best.get(name) == fit.spec.family for name in fit.spec.target_names)
    ]
    mixed = {key for fit in wanted for key in fit.spec.members}
    wanted_keys = {fit.spec.key for fit in wanted} | mixed
    return replace(everything, fits=tuple(fit for fit in everything.fits if fit.spec.key in wanted_keys))


def correlations_of(frame: Frame, config: RunConfig) -> Correlations | None:
    """How the columns move together, with what is stored of it used again."""
    if config.correlations is None:
        return None
    folder, asked = config.store / "correlations", config.correlations
    cache = CorrelationCache(folder / "cache", timedelta(days=asked.max_age_days), datetime.now(UTC), detect().pcores)
    return correlate(frame, asked, folder, cache)


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
        "gates": [asdict(decision) for decision in decisions],
        "failures": [failure_row(failure) for failure in tally.failures],
        "warnings": [*run.warnings, *_asleep(tally)],
        "diagnostics": run.diagnostics.to_json(),
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


def _write(run: Prepared, view: RunView, folder: RunFolder, judged: Judged) -> None:
    """Tables, summary, tracker, report, champions; `latest` moves last, when everything else is there."""
    config, summary = run.config, view.summary
    folder.write_tables(view)
    write_diagnostics(run.diagnostics, _memory_of(run.frame, config.store))
    path = folder.write_summary(summary)
    record = record_of(summary, judged.scores, judged.decisions, run.params, [path])
    try:
        log_run(config.store, config.tracking, record)
    except TrackingFailed as error:
        summary["warnings"].append(str(error))
        folder.write_summary(summary)
    folder.write_report(view)
    judged.champions.promote(judged.decisions, judged.scores, run.params, folder.run_id).write(config.store)
    folder.point_latest()
