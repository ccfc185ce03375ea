"""Whether what a search found is better than what the run had, on folds that the search never saw."""

import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np

from raytrain import __version__
from raytrain.cluster.driver import Driver, Status
from raytrain.cluster.experience import learned_costs
from raytrain.cluster.ray_cluster import Cluster
from raytrain.cluster.runner import expect
from raytrain.cluster.senses import Senses
from raytrain.engines.base import never
from raytrain.errors import RaytrainError
from raytrain.evaluation.scoring.significance import skill_interval
from raytrain.machine.sensors import find_heat_sensor
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.losses import Compared, Forecasts, Totals, compare
from raytrain.tuning.problem import Problem
from raytrain.tuning.search import Searched
from raytrain.tuning.study import Tried
from raytrain.tuning.trial import totals_of
from raytrain.tuning.tuned import Answer, Gain, Tuned
from raytrain.work.dataset import Dataset
from raytrain.work.plan import PlannedFit
from raytrain.work.store import ResultStore

_STORY = "comparison.jsonl"


class ComparisonFailed(RaytrainError):
    """A fit on the folds held out failed, or was stopped. What is finished is kept."""


def judge(
    problem: Problem,
    found: Searched,
    cluster: Cluster,
    config: TuneConfig,
    *,
    watch: Callable[[Status], None],
    stop_requested: Callable[[], bool] = never,
) -> Tuned:
    """Compare the winner with the default on the folds held out.

    Args:
        problem: what was searched for.
        found: by the search.
        cluster: where the fits run that are not stored yet.
        config: how sure the answer has to be.
        watch: is told of those fits.
        stop_requested: asked often.

    Raises:
        ComparisonFailed: a fit failed.
    """
    winner = found.winner.params
    if problem.params(winner) == problem.params({}):
        return _tuned(problem, found, "the default", None)
    tuned, default = (problem.fits(point, problem.holdout, problem.seeds) for point in (winner, {}))
    _have([*tuned, *default, *problem.fits({}, problem.search)], problem, cluster, watch, stop_requested)
    gain = _gain(problem, tuned, default, config)
    if gain.low is None:
        return _tuned(problem, found, "too few dates", gain)
    return _tuned(problem, found, "better" if gain.low > 0 else "no better", gain)


def _have(
    fits: Sequence[PlannedFit],
    problem: Problem,
    cluster: Cluster,
    watch: Callable[[Status], None],
    stop_requested: Callable[[], bool],
) -> None:
    """Have the results of these fits in the store, by the daily job's own driver."""
    store = ResultStore(problem.store)
    by_key = {fit.spec.key: fit for fit in fits}
    stored = store.finished(by_key)
    rest = {key: fit for key, fit in by_key.items() if key not in stored}
    if not rest:
        return
    expected = expect(rest.values(), store, learned_costs(store), problem.timeout_s)
    with (problem.folder / _STORY).open("w", encoding="utf-8") as story, Senses(find_heat_sensor()) as senses:
        report = Driver(
            cluster=cluster,
            config=problem.cluster,
            fits=rest,
            tasks=expected.tasks,
            durations=expected.seconds,
            dataset=problem.dataset,
            store=problem.store,
            story=story,
            senses=senses,
            watch=watch,
            stop_requested=stop_requested,
        ).run()
    missing = [fit for key, fit in rest.items() if not store.has(key)]
    if missing:
        first = next(iter(report.failures.values()), None)
        cause = "it was stopped" if first is None else f"{first.exception}; {first.advice}"
        raise ComparisonFailed(f"{missing[0].spec.label}, one of {len(missing)} to compare with: {cause}")


def _gain(problem: Problem, tuned: Sequence[PlannedFit], default: Sequence[PlannedFit], config: TuneConfig) -> Gain:
    dataset, store, target = Dataset.open(problem.dataset), ResultStore(problem.store), problem.target
    ours, theirs = (
        Forecasts.read(dataset, target.name, [store.predictions(fit.spec.key) for fit in fits])
        for fits in (tuned, default)
    )
    both = compare(dataset, target.name, ours, theirs)
    low, high = skill_interval(
        both.loss, both.other_loss, both.date, target.horizon, level=config.confidence, seed=config.seed
    )
    return _as_gain(both, low, high, config.confidence)


def _as_gain(both: Compared, low: float, high: float, confidence: float) -> Gain:
    loss, default_loss = float(both.loss.mean()), float(both.other_loss.mean())
    known = np.isfinite([low, high]).all()
    return Gain(
        gain=1 - loss / default_loss if default_loss > 0 else None,
        low=low if known else None,
        high=high if known else None,
        confidence=confidence,
        loss=loss,
        default_loss=default_loss,
        rows=len(both.loss),
        dates=len(np.unique(both.date)),
    )


def _tuned(problem: Problem, found: Searched, answer: Answer, holdout: Gain | None) -> Tuned:
    winner, searched = found.winner, list(problem.space.dimensions)
    params = problem.params(winner.params).model_dump(mode="json")
    assert winner.value is not None
    return Tuned(
        family=problem.family,
        target=problem.target.name,
        answer=answer,
        params={name: params[name] for name in searched},
        default={name: problem.base[name] for name in searched},
        metric=problem.metric,
        value=winner.value,
        default_value=winner.value if holdout is None else _value_of_default(problem),
        holdout=holdout,
        search_folds=[fold.name for fold in problem.search],
        holdout_folds=[fold.name for fold in problem.holdout],
        trials=counts(found.tried),
        dataset=problem.dataset.name,
        versions=_versions(problem),
        found_at=datetime.now().isoformat(timespec="seconds"),
        sweep=problem.sweep,
    )


def counts(tried: Sequence[Tried]) -> dict[str, int]:
    """How many trials ended how."""
    return {state: sum(one.state == state for one in tried) for state in ("complete", "stopped early", "failed")}


def _value_of_default(problem: Problem) -> float:
    """The metric of the parameters that the run has now, over all search folds."""
    totals = Totals(metrics_of=problem.task)
    for fit in problem.fits({}, problem.search):
        totals += totals_of(problem, fit)
    return totals.metrics()[problem.metric]


def _versions(problem: Problem) -> Mapping[str, str]:
    packages = dict(next(iter(problem.planned.values()))[0].spec.packages)
    return {"raytrain": __version__, "python": platform.python_version(), **packages}
