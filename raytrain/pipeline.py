"""The whole program on one page: data -> features -> folds -> plan -> fits -> scores -> gates -> forecast -> report."""

import hashlib
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from raytrain import __version__, data
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.driver import Status
from raytrain.cluster.ray_cluster import Cluster
from raytrain.cluster.runner import Runner, Tally, as_tasks, capacity_of_machine, failure_row, learned_costs
from raytrain.config import Settings
from raytrain.data import DataConfig, Frame
from raytrain.data.diagnostics import Diagnostics, DiagnosticsConfig
from raytrain.data.diagnostics.store import last_schema, write_diagnostics
from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import Device
from raytrain.errors import DataError
from raytrain.evaluation.champions import Champions, best_families
from raytrain.evaluation.collect import as_forecast, collect
from raytrain.evaluation.decision import Decision
from raytrain.evaluation.gates import GatesConfig, decide_all
from raytrain.evaluation.scores import score, score_by_fold
from raytrain.features.build import FeaturesConfig, FeatureTable, build
from raytrain.features.correlations.cache import CorrelationCache
from raytrain.features.correlations.config import CorrelationsConfig
from raytrain.features.correlations.table import Correlations, comparable, correlate
from raytrain.features.diagnostics import diagnose, inputs_of
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold, FoldsConfig, latest, walk_forward
from raytrain.machine.awake import keep_awake
from raytrain.machine.detect import detect, overclaims, resolve
from raytrain.machine.profile import MachineProfile
from raytrain.machine.sensors import find_heat_sensor
from raytrain.report.run_folder import RunFolder
from raytrain.report.view import RunView
from raytrain.schedule.simulate import Simulation, simulate
from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.mlflow_store import log_run
from raytrain.tracking.of_run import record_of
from raytrain.tracking.records import TrackingFailed
from raytrain.work.dataset import Dataset
from raytrain.work.lock import hold
from raytrain.work.plan import Plan, PlannedFit, Recipes, make_plan, require_rows
from raytrain.work.store import ResultStore


class RunConfig(Settings):
    """Everything a run can be told."""

    free_form: ClassVar[tuple[str, ...]] = ("params",)
    store: Path = Path("store")
    """Folder that keeps results, runs and the tracking database."""
    machine: str = "auto"
    """`auto`, the name of a profile in `machines`, or a path to one."""
    machines: Path = Path("configs/machines")
    """Folder with machine profiles."""
    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    targets: tuple[TargetConfig, ...] = Field(
        (
            TargetConfig(horizon=1, label="1d"),
            TargetConfig(horizon=5, label="1w"),
            TargetConfig(horizon=21, label="1m"),
        ),
        min_length=1,
    )
    folds: FoldsConfig = FoldsConfig()
    families: tuple[str, ...] = Field(
        ("naive", "lightgbm", "lightgbm_quantile", "xgboost", "ngboost", "lstm", "mlp"), min_length=1
    )
    """Which families are fitted; `raytrain.families.names()` lists them all."""
    params: dict[str, dict[str, Any]] = {}
    """Family -> parameters that differ from the family's defaults."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Levels that quantile families predict."""
    seeds: tuple[int, ...] = Field((42,), min_length=1)
    """Each fit is done once per seed; forecasts of several seeds are averaged."""
    gates: GatesConfig = GatesConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    correlations: CorrelationsConfig | None = None
    """What the report shows of how columns move together."""
    cluster: ClusterConfig = ClusterConfig()
    tracking: TrackingConfig = TrackingConfig()

    @field_validator("quantiles")
    @classmethod
    def _rising_levels(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        rising = all(low < high for low, high in pairwise(levels))
        if not levels or not rising or not 0 < levels[0] or not levels[-1] < 1 or 0.5 not in levels:
            raise ValueError("must rise, lie between 0 and 1 and contain 0.5")
        return levels

    @model_validator(mode="after")
    def _targets_differ(self) -> Self:
        names = [target.name for target in self.targets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"each target needs a label of its own, got {', '.join(sorted(twice))} twice in `targets`")
        return self


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
    profile = resolve(config.machine, config.machines)
    recipes = Recipes.make(
        config.families,
        config.params,
        targets=config.targets,
        quantiles=config.quantiles,
        seeds=config.seeds,
        slot_device=slot_device(profile),
    )
    frame = data.load(config.data)
    features = build(frame, config.features)
    diagnostics = look_at(frame, features, config)
    if diagnostics.errors:
        raise DataError("\n".join(map(str, diagnostics.errors)))
    if config.correlations is not None:
        comparable(frame, config.correlations)
    dataset = Dataset.build(frame, features, config.targets)
    folds = walk_forward(frame.table[DATE].filter(pl.Series(features.usable)), config.folds)
    require_rows(dataset, folds, config.targets, config.folds)
    plan = make_plan(dataset, folds, recipes)
    warnings = [*plan.left_out, *overclaims(profile, detect())]
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


def look_at(frame: Frame, features: FeatureTable, config: RunConfig) -> Diagnostics:
    """What is strange about the data, before anything is trained on it."""
    return diagnose(
        frame,
        config.targets,
        features,
        config.diagnostics,
        inputs=inputs_of(frame, config.features),
        before=last_schema(_memory_of(frame, config.store)),
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
    tasks = as_tasks(rest, learned_costs(store), run.config.cluster.timeout_s)
    return simulate(tasks, capacity_of_machine(run.profile)), len(rest)


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
        with _runner(run, folder, watcher, stop_requested) as runner:
            finished = runner.run(run.plan.fits)
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
    bars = run.frame.table.select(SERIES, DATE, pl.col(run.frame.price).alias("close"))
    scores = score(predictions, bars, config.data.periods_per_year, confidence=config.gates.confidence)
    planned, done = (Counter((fit.spec.target, fit.spec.family) for fit in fits) for fits in (run.plan.fits, finished))
    return Judged(
        scores=scores,
        fold_scores=score_by_fold(predictions),
        decisions=decide_all(scores, champions.mape_on(scores, run.params), config.gates, planned - done),
        champions=champions,
    )


def make_forecast(run: Prepared, runner: Runner, judged: Judged, store: ResultStore) -> pl.DataFrame:
    """Refit the best recipe of each target on everything known and predict from the newest row."""
    config, best = run.config, best_families(judged.decisions, judged.scores)
    fold = latest(run.frame.table[DATE], config.folds)
    fits: list[PlannedFit] = []
    for target in config.targets:
        if target.name in best:
            recipe = next(one for one in run.recipes.recipes if one.name == best[target.name])
            only = replace(run.recipes, recipes=(recipe,), targets=(target,))
            fits += make_plan(run.dataset, [fold], only).fits
    specs = [fit.spec for fit in runner.run(fits)]
    verdicts = {(one.target, one.family): one.verdict for one in judged.decisions}
    return as_forecast(collect(run.frame, config.targets, specs, store), verdicts)


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
        "warnings": list(run.warnings),
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
