"""What is searched for, and that a trial's fits are the daily job's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.engines.base import Params
from raytrain.errors import ConfigError
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.problem import Problem
from raytrain.work.plan import Recipes, make_plan

MakeRun = Callable[..., Any]

CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "trees": ("lightgbm_quantile", "return_1w", {}, {"num_leaves": 7, "learning_rate": 0.03}),
    "another scale": ("ridge", "return_1d", {"scale": ["none", "har"]}, {"scale": "none"}),
    "the usual scale": ("ridge", "return_1d", {"scale": ["none", "har"]}, {"scale": "har"}),
    "a window": ("gru", "return_1d", {}, {"window": 10}),
    "several outputs": ("multi_task", "return_1w", {}, {"num_head": 9}),
    "a probability": ("lightgbm", "threshold_1w", {}, {"num_leaves": 7}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_trials_fits_have_the_keys_and_the_needs_of_the_daily_jobs(
    name: str, make_run: MakeRun, tmp_path: Path
) -> None:
    family, target, space, point = CASES[name]
    run = make_run(tmp_path, "naive", family)
    problem = Problem.of(run, family, target, TuneConfig(space=space))
    daily = Recipes.make(("naive", family), {family: point}, **_rest(run.recipes))
    planned = {fit.spec.key: fit for fit in make_plan(run.dataset, run.folds, daily).fits}
    fits = problem.fits(point, run.folds, run.recipes.seeds)
    assert len(fits) == len(run.folds) * len(run.recipes.seeds)
    for fit in fits:
        assert planned[fit.spec.key] == fit
    assert {fit.spec.key for fit in problem.naive.values()} <= planned.keys()


def _rest(recipes: Recipes) -> dict[str, Any]:
    names = ("targets", "quantiles", "seeds", "slot_device")
    return {name: getattr(recipes, name) for name in names}


def test_the_newest_folds_are_held_out(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    problem = Problem.of(run, "lightgbm_quantile", "return_1w", TuneConfig(holdout_folds=2))
    assert [*problem.search, *problem.holdout] == run.folds
    assert len(problem.holdout) == 2
    assert max(fold.test_end for fold in problem.search) <= problem.holdout[0].test_start
    assert not tmp_path.joinpath("prepared").exists(), "asking writes nothing"


def test_the_name_of_a_search_holds_what_it_depends_on(make_run: MakeRun, tmp_path: Path) -> None:
    def sweep(config: TuneConfig, **rest: Any) -> str:
        return Problem.of(make_run(tmp_path, **rest), "lightgbm_quantile", "return_1w", config).sweep

    plain = sweep(TuneConfig())
    assert sweep(TuneConfig(trials=7, budget="1m", seed=3, pruning=False)) == plain
    assert sweep(TuneConfig(metric="mae")) != plain
    assert sweep(TuneConfig(space={"num_leaves": [4, 8]})) != plain
    assert sweep(TuneConfig(holdout_folds=1)) != plain
    assert sweep(TuneConfig(), params={"lightgbm_quantile": {"num_rounds": 10}}) != plain


BAD: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "unknown family": ("lightgmb", "return_1w", {}, "did you mean `lightgbm`?"),
    "unknown target": ("lightgbm", "return_1m", {}, "`return_1m` is not a target of this run; did you mean"),
    "unknown metric": ("lightgbm", "return_1w", {"metric": "skil"}, "did you mean `skill`?"),
    "a metric of another task": ("lightgbm", "return_1w", {"metric": "brier"}, "got `brier`"),
    "no form": ("har", "threshold_1w", {"space": {"scope": ["pooled", "series"]}}, "har has no binary form"),
    "positions": ("reward_based", "return_1w", {}, "judged by its forecasts, got reward_based"),
    "an ensemble": ("meta_learning", "return_1w", {}, "a family that reads data, got meta_learning"),
    "all folds held out": ("lightgbm", "return_1w", {"holdout_folds": 6}, "must be larger than tune.holdout_folds = 6"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_searched_is_refused(name: str, make_run: MakeRun, tmp_path: Path) -> None:
    family, target, config, said = BAD[name]
    with pytest.raises(ConfigError) as refused:
        Problem.of(make_run(tmp_path), family, target, TuneConfig(**config))
    assert said in str(refused.value)


def test_memory_is_that_of_the_hungriest_edge(make_run: MakeRun, tmp_path: Path) -> None:
    def asks(*hidden: int) -> int:
        config = TuneConfig(space={"hidden": [[8], list(hidden)]})
        return Problem.of(make_run(tmp_path), "mlp", "return_1w", config).memory_bytes

    assert asks(4096, 4096) > asks(16)


def test_a_point_is_laid_over_the_runs_parameters(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, params={"lightgbm_quantile": {"num_rounds": 17}})
    problem = Problem.of(run, "lightgbm_quantile", "return_1w", TuneConfig())
    params: Params = problem.params({"num_leaves": 9})
    assert params.model_dump()["num_rounds"] == 17
    assert params.model_dump()["num_leaves"] == 9
