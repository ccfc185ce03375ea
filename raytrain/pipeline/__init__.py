"""The whole program on one page: data -> features -> folds -> plan -> fits -> scores -> gates -> forecast -> report."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as TimeOfDay
from typing import Any

import polars as pl

from raytrain.cluster.driver import Status
from raytrain.cluster.ray_cluster import Cluster
from raytrain.cluster.runner import Runner
from raytrain.deploy.sweep import sweep_bundles
from raytrain.evaluation.scoring.collect import collect
from raytrain.evaluation.scoring.scores import notes
from raytrain.machine.awake import keep_awake
from raytrain.machine.sensors import find_heat_sensor
from raytrain.pipeline.estimate import estimate
from raytrain.pipeline.newest import offer, plan_forecast
from raytrain.pipeline.prepared import Prepared, elected_before, prepare
from raytrain.pipeline.told import correlations_of, summarise, write_run
from raytrain.pipeline.verdict import judge, look_closer_at, scores_of
from raytrain.report.run_folder import RunFolder
from raytrain.report.view import RunView
from raytrain.work.lock import hold
from raytrain.work.plan import PlannedFit, stages
from raytrain.work.presets import next_time
from raytrain.work.store import ResultStore

__all__ = [
    "Prepared",
    "Trained",
    "Watcher",
    "elected_before",
    "estimate",
    "execute",
    "plan_forecast",
    "prepare",
    "train",
]


@dataclass(frozen=True)
class Watcher:
    """What a person who watches is told."""

    status: Callable[[Status], None]
    cluster: Callable[[Cluster], None]
    step: Callable[[str], None]


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
            verdict = judge(run, runner, finished, predictions)
            watcher.step("forecasting the newest rows")
            offered = offer(run, runner, verdict, folder.run_id)
        insight = look_closer_at(run, predictions)
        found = correlations_of(run.frame, config)
        watcher.step("writing the report")
        times = {"started_at": started.isoformat(timespec="seconds"), "wall_s": round(time.monotonic() - clock, 3)}
        heat = {"heat": str(runner.sensor.read())}
        about: dict[str, Any] = {"run_id": folder.run_id} | times
        summary = about | summarise(run, runner.tally, verdict.decisions) | heat
        summary["warnings"] += [*verdict.notes, *notes(verdict.scores), *insight.warnings, *offered.notes]
        view = RunView(
            summary=summary,
            scores=verdict.scores,
            fold_scores=verdict.fold_scores,
            decisions=verdict.decisions,
            predictions=predictions,
            forecast=offered.forecast,
            fits=pl.DataFrame(runner.tally.rows, infer_schema_length=None),
            failures=summary["failures"],
            correlations=found,
            insight=insight,
        )
        write_run(run, view, folder, verdict, offered.bundled)
        sweep_bundles(config.store, config.keep_bundles)
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
    return Trained(summary=summary, scores=pl.DataFrame() if predictions.is_empty() else scores_of(run, predictions))


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


def run_stages(run: Prepared, runner: Runner) -> list[PlannedFit]:
    """Bring all fits of the walk-forward to their end; returns those that have a result."""
    return [fit for _, fits in stages(run.plan, run.config.mode) for fit in runner.run(fits)]
