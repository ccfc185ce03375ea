"""Champions are fitted on the folds of the run that challenges them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import DATE, make_frame
from raytrain.evaluation.champions.incumbents import ChampionRecipe, champion_fits, champion_recipes, incumbents
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold, FoldsConfig, walk_forward
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Plan, Recipes, make_plan

TARGETS = (TargetConfig(horizon=1, label="1d"), TargetConfig(horizon=5, label="1w"))
PARAMS: dict[str, dict[str, Any]] = {"ridge": {"penalties": [0.1]}, "har": {}}
PLANNED = {("return_1d", "ridge"), ("return_1w", "ridge"), ("return_1w", "har")}


@dataclass(frozen=True)
class One:
    """A recipe in production."""

    family: str
    params: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def frame() -> Frame:
    rng = np.random.default_rng(0)
    days = [datetime(2019, 1, 1) + timedelta(days=i) for i in range(500)]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 500)))
    return make_frame(pl.DataFrame({"series_id": "A", "date": days, "close": close}), DataConfig(), "the test", "test")


@pytest.fixture(scope="module")
def dataset(frame: Frame) -> Dataset:
    features = FeaturesConfig.model_validate({"steps": [{"step": "log_return", "rows": [1, 5]}]})
    return Dataset.build(frame, build(frame, features), TARGETS)


@pytest.fixture(scope="module")
def folds(frame: Frame) -> list[Fold]:
    return walk_forward(frame.table[DATE], FoldsConfig(test_span="1q", num_folds=2, min_train_rows=50))


@pytest.fixture(scope="module")
def what() -> Recipes:
    return Recipes.make(
        ["naive", "har", "drift", "ensemble"],
        {"ensemble": {"members": ["har", "drift"]}},
        targets=TARGETS,
        quantiles=(0.1, 0.5, 0.9),
        seeds=(42,),
        slot_device="cpu",
    )


@pytest.mark.parametrize(
    ("champion", "absent"),
    [
        (One("ridge", {"penalties": [0.1]}), False),
        (One("ridge", {"penalties": [0.2]}), True),
        (One("gjr"), True),
    ],
    ids=["the same recipe", "other parameters", "another family"],
)
def test_a_champion_is_absent_unless_its_very_recipe_is_planned(champion: One, absent: bool) -> None:
    found = champion_recipes({"return_1w": champion}, PLANNED, PARAMS)
    expected = (ChampionRecipe("return_1w", champion.family, champion.params),)
    assert found == (expected if absent else ())


def test_a_family_that_is_planned_for_other_targets_only_is_absent() -> None:
    champions = {"return_1d": One("har"), "return_1w": One("har"), "return_1y": One("gjr")}
    assert champion_recipes(champions, PLANNED, PARAMS) == (ChampionRecipe("return_1d", "har", {}),)


def test_an_absent_champion_is_fitted_on_the_same_folds(dataset: Dataset, folds: list[Fold], what: Recipes) -> None:
    found = champion_fits(dataset, folds, what, [ChampionRecipe("return_1w", "ridge", {"penalties": [0.2]})])
    specs = [fit.spec for fit in found.fits]
    assert found.notes == ()
    assert [(spec.family, spec.target, spec.fold) for spec in specs] == [("ridge", "return_1w", one) for one in folds]
    assert all('"penalties":[0.2]' in spec.params for spec in specs)
    assert [fit.spec for fit in found.of_target("return_1w")] == specs and found.of_target("return_1d") == []


def test_an_ensemble_reads_the_members_of_the_run(dataset: Dataset, folds: list[Fold], what: Recipes) -> None:
    plan: Plan = make_plan(dataset, folds, what)
    planned = {fit.spec.key for fit in plan.fits}
    found = champion_fits(dataset, folds, what, [ChampionRecipe("return_1d", "ensemble", {"members": ["har"]})])
    assert {fit.spec.family for fit in found.fits} == {"ensemble"}
    assert all(set(fit.spec.members) <= planned and fit.spec.key not in planned for fit in found.fits)


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (ChampionRecipe("return_1w", "hra", {}), "did you mean `har`"),
        (ChampionRecipe("return_1w", "ridge", {"penalty": 1}), "penalty"),
        (ChampionRecipe("return_1w", "ensemble", {"members": ["gjr", "har"]}), "gjr, which is not fitted"),
    ],
)
def test_a_champion_that_cannot_be_fitted_any_more_is_a_note(
    recipe: ChampionRecipe, why: str, dataset: Dataset, folds: list[Fold], what: Recipes
) -> None:
    found = champion_fits(dataset, folds, what, [recipe, ChampionRecipe("return_1d", "gjr", {})])
    (note,) = found.notes
    assert note.startswith(f"the champion of return_1w, {recipe.family}, cannot be fitted any more: ") and why in note
    assert {fit.spec.family for fit in found.fits} == {"gjr"}


def test_only_the_champions_own_forecasts_are_compared_with() -> None:
    champions = {"return_1d": One("net"), "return_1w": One("ridge", {"penalties": [0.1]})}
    rows = [("return_1d", "net"), ("return_1w", "net"), ("return_1d", "ridge")]
    forecasts = pl.DataFrame(rows, schema=["target", "family"], orient="row")
    found = incumbents(champions, PLANNED, PARAMS, forecasts)
    assert found.families == {"return_1d": "net", "return_1w": "ridge"}
    assert found.in_run == {"return_1w"}
    assert found.predictions.rows() == [("return_1d", "net")]
    assert incumbents(champions, PLANNED, PARAMS, pl.DataFrame()).predictions.is_empty()
    assert incumbents({}, PLANNED, PARAMS, forecasts).predictions.is_empty()
