"""A model of an open block forecasts the rows to come as a model would that was trained again, to the bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain import families
from raytrain.data import Frame
from raytrain.data.frame import DATE
from raytrain.engines.base import FitContext
from raytrain.folds import FoldsConfig, latest
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, FitResult, run_fit
from raytrain.work.models import POOLED, ModelStore
from raytrain.work.plan import Plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

MakePlan = Callable[..., Plan]
OPEN, CLOSED = "2020-04-01", "2020-01-01"

FAMILIES = [
    pytest.param("naive", {}, id="naive"),
    pytest.param("naive", {"scope": "series"}, id="naive of each series"),
    pytest.param("har", {}, id="har"),
    pytest.param("gjr", {"num_paths": 200}, id="gjr"),
    pytest.param("ridge", {"scale": "har"}, id="ridge"),
    pytest.param("lightgbm_quantile", {"num_rounds": 20}, id="lightgbm_quantile", marks=pytest.mark.native),
    pytest.param("gru", {"num_epochs": 2, "window": 5}, id="gru", marks=pytest.mark.torch),
    pytest.param("reward_based", {"num_iterations": 5}, id="reward_based"),
    pytest.param("mlp", {"num_epochs": 2}, id="mlp", marks=pytest.mark.keras),
]


@pytest.fixture(scope="session")
def yesterday(
    table: pl.DataFrame, as_frame: Callable[[pl.DataFrame], Frame], as_dataset: Callable[[Frame], Dataset]
) -> Dataset:
    """The dataset without its newest day."""
    return as_dataset(as_frame(table.filter(pl.col(DATE) < table[DATE].max())))


def spec_of(plan: Plan, fold: str, target: str = "return_1w") -> FitSpec:
    (found,) = (fit.spec for fit in plan.fits if (fit.spec.fold.name, fit.spec.target) == (fold, target))
    return found


def same(left: FitResult, right: FitResult) -> bool:
    """To the bit: floats are compared as numbers, and there is no NaN."""
    return left.predictions.equals(right.predictions)


@pytest.mark.parametrize(("family", "params"), FAMILIES)
def test_tomorrow_is_forecast_by_the_model_of_today(
    family: str, params: dict[str, Any], plan: MakePlan, yesterday: Dataset, dataset: Dataset, store: ResultStore
) -> None:
    before = spec_of(plan(family, params={family: params}, only=yesterday), OPEN)
    after = spec_of(plan(family, params={family: params}), OPEN)
    assert (before.train_key, before.key) != (after.train_key, after.key)
    assert before.train_key == after.train_key

    first = run_fit(before, yesterday, Control(), store)
    second = run_fit(after, dataset, Control(), store)
    again = run_fit(after, dataset, Control())

    assert (first.trained_before, again.trained_before) == (None, None)
    assert second.trained_before is not None
    assert second.predictions.height == first.predictions.height + 2
    assert same(second, again)
    assert second.cost.train_rows == first.cost.train_rows == again.cost.train_rows


def test_a_block_that_is_over_keeps_no_model(plan: MakePlan, dataset: Dataset, store: ResultStore) -> None:
    run_fit(spec_of(plan("naive"), CLOSED), dataset, Control(), store)
    assert not (store.root / "models").exists()


def test_the_day_a_block_ends_is_forecast_by_its_model(
    plan: MakePlan, dataset: Dataset, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first row of the next block may come together with the last of this one."""
    spec = spec_of(plan("naive"), CLOSED)
    monkeypatch.setattr("raytrain.work.fit.is_open", lambda spec, dataset: True)
    run_fit(spec, dataset, Control(), store)
    monkeypatch.undo()
    assert run_fit(spec, dataset, Control(), store).trained_before is not None


def test_the_newest_fit_on_everything_is_kept(
    plan: MakePlan, frame: Frame, dataset: Dataset, store: ResultStore
) -> None:
    spec = spec_of(plan("naive"), OPEN)
    spec = replace(spec, fold=latest(frame.table[DATE], FoldsConfig()))
    run_fit(spec, dataset, Control(), store)
    assert ModelStore(store.root).has(spec.train_key)


def test_facts_tell_what_training_took(
    plan: MakePlan, yesterday: Dataset, dataset: Dataset, store: ResultStore
) -> None:
    """Costs are learned from them, and a forecast alone would teach that training takes no time."""
    first = run_fit(spec_of(plan("har", only=yesterday), OPEN), yesterday, Control(threads=2), store)
    spec = spec_of(plan("har"), OPEN)
    facts = run_fit(spec, dataset, Control(), store).facts(spec)
    assert facts["cost"] == first.facts(spec)["cost"]
    assert (facts["cost"]["threads"], facts["spent"]["threads"]) == (2, 1)
    assert (facts["reused_model"], first.facts(spec)["reused_model"]) == (True, False)


def test_a_model_cut_short_is_one_tomorrow_too(
    plan: MakePlan, yesterday: Dataset, dataset: Dataset, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    naive = families.get("naive")
    fit = naive.fit
    monkeypatch.setattr(naive, "fit", lambda self, data, context: (context.should_stop(), fit(self, data, context))[1])
    before, after = (spec_of(plan("naive", only=one, budget_s=1e-9), OPEN) for one in (yesterday, dataset))
    assert run_fit(before, yesterday, Control(), store).cut_short
    assert run_fit(after, dataset, Control(), store).cut_short


def test_a_fit_that_was_asked_to_stop_keeps_no_model(
    plan: MakePlan, dataset: Dataset, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    naive = families.get("naive")
    fit = naive.fit
    monkeypatch.setattr(naive, "fit", lambda self, data, context: (context.should_stop(), fit(self, data, context))[1])
    assert run_fit(spec_of(plan("naive"), OPEN), dataset, Control(should_stop=lambda: True), store).stopped
    assert not (store.root / "models").exists()


def test_a_series_that_is_new_has_the_models_trained_again(
    table: pl.DataFrame,
    plan: MakePlan,
    as_frame: Callable[[pl.DataFrame], Frame],
    as_dataset: Callable[[Frame], Dataset],
) -> None:
    """Models know series by number, and a name in between shifts the numbers."""
    newest = table.filter(pl.col(DATE) >= pl.datetime(2020, 4, 2), series_id="A").with_columns(series_id=pl.lit("AA"))
    listed = as_dataset(as_frame(pl.concat([table, newest])))
    keys = {one.fold.name: one.train_key for one in (fit.spec for fit in plan("naive").fits)}
    with_it = {one.fold.name: one.train_key for one in (fit.spec for fit in plan("naive", only=listed).fits)}
    assert [fold for fold in keys if keys[fold] != with_it[fold]] == [OPEN]


def test_a_restated_past_has_it_trained_again(
    table: pl.DataFrame,
    plan: MakePlan,
    as_frame: Callable[[pl.DataFrame], Frame],
    as_dataset: Callable[[Frame], Dataset],
    dataset: Dataset,
    store: ResultStore,
) -> None:
    restated = as_dataset(as_frame(table.with_columns(pl.col("other") + (pl.int_range(pl.len()) == 300))))
    run_fit(spec_of(plan("naive"), OPEN), dataset, Control(), store)
    assert run_fit(spec_of(plan("naive", only=restated), OPEN), restated, Control(), store).trained_before is None


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "more"])
def test_a_damaged_model_is_trained_again(damage: str, plan: MakePlan, dataset: Dataset, store: ResultStore) -> None:
    spec = spec_of(plan("naive"), OPEN)
    first = run_fit(spec, dataset, Control(), store)
    folder = ModelStore(store.root).folder(spec.train_key, POOLED)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        raw = path.read_bytes()
        if damage == "gone":
            path.unlink()
        elif damage == "more":
            path.with_name("stranger").write_text("")
        else:
            path.write_bytes(raw[:-2] if damage == "cut" else bytes([raw[0] ^ 1]) + raw[1:])
        second = run_fit(spec, dataset, Control(), store)
        assert second.trained_before is None
        assert same(first, second)
        assert run_fit(spec, dataset, Control(), store).trained_before is not None


def test_the_library_is_set_up_before_a_model_is_loaded(
    plan: MakePlan, dataset: Dataset, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorFlow takes its threads at its first operation, and a later fit with another number would fail."""
    spec, told = spec_of(plan("naive"), OPEN), []
    run_fit(spec, dataset, Control(), store)

    def set_up(context: FitContext) -> None:
        told.append(("set up", context.threads))

    naive = families.get("naive")
    load = naive.load
    monkeypatch.setattr(naive, "set_up", set_up)
    monkeypatch.setattr(naive, "load", lambda folder: told.append(("load", 0)) or load(folder))
    run_fit(spec, dataset, Control(threads=3), store)
    assert told == [("set up", 3), ("load", 0)]


def test_models_that_nobody_uses_are_swept_away(
    plan: MakePlan, dataset: Dataset, store: ResultStore, age: Callable[[Path], None]
) -> None:
    specs = [spec_of(plan("naive"), OPEN, target) for target in ("return_1d", "return_1w")]
    for spec in specs:
        run_fit(spec, dataset, Control(), store)
        age(ModelStore(store.root).folder(spec.train_key, POOLED))
    run_fit(specs[1], dataset, Control(), store)
    assert store.sweep() == 1
    assert [ModelStore(store.root).has(spec.train_key) for spec in specs] == [False, True]
