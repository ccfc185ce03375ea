"""One trial: a parameter set, fitted fold after fold by the fits of the daily job, which tells Tune after each."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.util import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raytrain.cluster import endings
from raytrain.cluster.hands import Execute
from raytrain.cluster.nodes import kill_there
from raytrain.cluster.places import LOOK_EVERY_S, num_places, place
from raytrain.cluster.worker import Failure, Order, Outcome, execute
from raytrain.engines.process import engine_env
from raytrain.errors import FitError
from raytrain.folds import Fold
from raytrain.schedule.words import Settings
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.losses import Forecasts, Totals, compare
from raytrain.tuning.problem import Problem, Run
from raytrain.tuning.space import Point
from raytrain.work import inflight
from raytrain.work.dataset import Dataset
from raytrain.work.plan import PlannedFit
from raytrain.work.store import ResultStore

FOLDS = "folds"
"""How many folds a trial has finished, among what it reports."""


class TrialFailed(FitError):
    """A fit of a trial failed. The sweep goes on without it."""


Trainable = Callable[[dict[str, Any]], None]


def trainable(run: Run, family: str, target: str, config: TuneConfig | None = None) -> Trainable:
    """A function trainable for a `tune.Tuner` of one's own, with any searcher and scheduler.

    Its config is parameters of the family. After each fold it reports `skill` and the other metrics over the folds so
    far (see `raytrain.tuning.losses.METRICS`), `folds`, `fold`, `fits` and `stored_fits`, and `fit_s`, the seconds that
    its fits have taken. Give it what `resources` claims: the fits run inside that.

    Args:
        run: what `raytrain.pipeline.prepare` gives.
        family: its name.
        target: its name.
        config: of it, the folds held out and the deadline count; the defaults when not given.

    Raises:
        ConfigError: see `Problem.of`.
    """
    return trainable_of(Problem.of(run, family, target, config or TuneConfig()).on_disk(run.dataset))


def trainable_of(problem: Problem, work: Execute = execute) -> Trainable:
    """The trainable of a problem whose dataset is on disk.

    Args:
        problem: what is searched for.
        work: what a process does with its order.
    """

    def trial(config: dict[str, Any]) -> None:
        run_trial(problem, config, work)

    trial.__name__ = problem.name
    return trial


def run_trial(problem: Problem, point: Point, work: Execute) -> None:
    """Fit and report, oldest fold first.

    Raises:
        TrialFailed: a fit failed, hung or died, or its metric is NaN.
        ConfigError: the family refuses the parameters.
    """
    from ray import tune

    hand, totals = Hand(problem, work), Totals(metrics_of=problem.task)
    for done, fold in enumerate(problem.search, 1):
        totals += hand.judge(point, fold)
        metrics = totals.metrics()
        if metrics[problem.metric] != metrics[problem.metric]:
            raise TrialFailed(f"{problem.metric} on fold {fold.name} is NaN: naive loses nothing there")
        tune.report({**metrics, FOLDS: done, "fold": fold.name, **hand.spent()})


@dataclass
class Hand:
    """Gets the fits of one trial done, one at a time, inside what the trial claims."""

    problem: Problem
    work: Execute
    fits: int = 0
    stored_fits: int = 0
    fit_s: float = 0.0

    def spent(self) -> dict[str, float]:
        """What the fits took so far; the yardstick's are not counted."""
        return {"fits": self.fits, "stored_fits": self.stored_fits, "fit_s": self.fit_s}

    def judge(self, point: Point, fold: Fold) -> Totals:
        """Fit one fold, or find the fit, and hold it against naive."""
        problem, store = self.problem, ResultStore(self.problem.store)
        (fit,) = problem.fits(point, [fold])
        naive = problem.naive[fold.name]
        self._have(naive, store)
        seconds = self._have(fit, store)
        if seconds is None:
            self.stored_fits += 1
        else:
            self.fits += 1
            self.fit_s += seconds
        return totals_of(problem, fit)

    def _have(self, fit: PlannedFit, store: ResultStore) -> float | None:
        """Have the fit's result in the store; the seconds that it took, None when it was there."""
        if store.finished([fit.spec.key]):
            return None
        seconds, yields, status = 0.0, 0, "stopped"
        while status == "stopped":
            with place(store.root):
                outcome = self._run(fit, store.root, may_ask=yields < Settings().max_yields)
            seconds += outcome.ended_at - outcome.started_at
            status, yields = outcome.status, yields + 1
        if not store.has(fit.spec.key):
            raise TrialFailed(f"{fit.spec.label}: the fit ended without a result")
        return seconds

    def _run(self, fit: PlannedFit, store: Path, *, may_ask: bool) -> Outcome:
        """One try, which ends whole or, when it was asked to, at a safe point."""
        inflight.clear(store, fit.spec.key)
        call = ray.remote(self.work).options(**self._options(fit), name=fit.spec.label).remote(self._order(fit))
        self._wait(call, fit, store, may_ask)
        return _told(call, fit)

    def _order(self, fit: PlannedFit) -> Order:
        return Order(
            spec=fit.spec,
            engine=fit.engine,
            threads=max(1, int(_room().get("CPU", 1))),
            dataset=self.problem.dataset,
            store=self.problem.store,
            prior=fit.prior,
        )

    def _options(self, fit: PlannedFit) -> dict[str, Any]:
        threads = max(1, int(_room().get("CPU", 1)))
        env = engine_env(fit.engine, threads, fit.spec.device, self.problem.cluster.keras_backend)
        return {"max_retries": 0, "runtime_env": {"env_vars": env}} | _inside()

    def _wait(self, call: Any, fit: PlannedFit, store: Path, may_ask: bool) -> None:
        """Wait for the end of a try; when it is too hot for any fit, ask this one to make room."""
        end = time.monotonic() + self.problem.timeout_s
        while not ray.wait([call], timeout=min(LOOK_EVERY_S, max(0.0, end - time.monotonic())))[0]:
            now = time.monotonic()
            if now >= end:
                if not (inflight.kill(store, fit.spec.key) or kill_there(store, fit.spec.key)):
                    ray.cancel(call, force=True)
                raise _failed(endings.killed_for_time(fit.spec, self.problem.timeout_s, now).failure)
            if may_ask and num_places(store) == 0:
                inflight.ask_stop(store, fit.spec.key)


def _told(call: Any, fit: PlannedFit) -> Outcome:
    """What the worker says of a try that is over."""
    try:
        outcome: Outcome = ray.get(call)
    except ray.exceptions.RayError as error:
        raise _failed(endings.raised(fit.spec, error, time.monotonic()).failure) from None
    if outcome.failure is not None:
        raise _failed(outcome.failure)
    return outcome


def totals_of(problem: Problem, fit: PlannedFit) -> Totals:
    """A stored fit of a search fold, held against naive.

    Raises:
        FitError: no row of the fold has an outcome that was known before the folds held out.
    """
    dataset, store, target = _dataset(problem.dataset), ResultStore(problem.store), problem.target.name
    naive = problem.naive[fit.spec.fold.name]
    forecasts = (Forecasts.read(dataset, target, [store.predictions(one.spec.key)]) for one in (fit, naive))
    # An outcome that was known only after the search folds would tell the search of the folds held out.
    return Totals.of(compare(dataset, target, *forecasts, before=problem.holdout[0].test_start), problem.task)


def _failed(failure: Failure | None) -> TrialFailed:
    assert failure is not None
    where = f"{failure.family} {failure.target} {failure.fold}, {failure.phase}"
    return TrialFailed(f"{where}: {failure.exception}; {failure.advice}")


def _room() -> Mapping[str, float]:
    """What the trial has claimed for its fits."""
    group = get_current_placement_group()
    return group.bundle_specs[-1] if group else {}


def _inside() -> dict[str, Any]:
    """Ray's options for a fit inside the trial's claim.

    A claim of one bundle is held by the trial itself: its fits run on it, and ask for nothing more.
    """
    group = get_current_placement_group()
    if group is None or group.bundle_count == 1:
        return {"num_cpus": 0}
    room = dict(group.bundle_specs[-1])
    return {
        "num_cpus": room.pop("CPU", 0),
        "num_gpus": room.pop("GPU", 0),
        "memory": room.pop("memory", 0),
        "resources": room,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=1),
    }


@lru_cache(maxsize=1)
def _dataset(folder: Path) -> Dataset:
    return Dataset.open(folder)
