"""A bundle forecasts from raw rows what the run has forecast, to the bit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest

from raytrain.data.frame import make_frame
from raytrain.deploy.bundle import Bundle
from raytrain.deploy.forecaster import Forecaster
from raytrain.deploy.inputs import BundleInput
from raytrain.deploy.remote import ForecastFailed, ModelEnded, Remote
from raytrain.evaluation.scoring.collect import as_forecast, collect

MIXING = {"among": ["har", "drift"], "ensemble": {"members": ["har", "drift"]}}


def _forecast(world: Any, name: str, target: str = "return_1w", **how: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What a bundle forecasts, and the same columns as stored."""
    spec = world.fitted(name, target, **how)
    with Forecaster.load(world.made(name, target, **how)) as forecaster:
        found = forecaster.forecast(world.table)
    stored = world.stored(spec)
    return found.select(stored.columns), stored


def _reproduces(world: Any, name: str, target: str = "return_1w", **how: Any) -> bool:
    found, stored = _forecast(world, name, target, **how)
    assert found["series_id"].to_list()[:2] == ["A", "B"]
    return found.equals(stored)


@pytest.mark.native
@pytest.mark.parametrize("name", ["lightgbm_quantile", "xgboost"])
def test_trees_reproduce_the_run(world: Any, name: str) -> None:
    assert _reproduces(world, name)


@pytest.mark.torch
@pytest.mark.parametrize("target", ["return_1w", "threshold_1w"])
def test_a_torch_net_reproduces_the_run(world: Any, target: str) -> None:
    assert _reproduces(world, "gru", target)


@pytest.mark.keras
@pytest.mark.parametrize(("name", "target"), [("mlp", "return_1w"), ("multi_task", "return_1d")])
def test_a_keras_net_reproduces_the_run(world: Any, name: str, target: str) -> None:
    assert _reproduces(world, name, target, multi_task={"num_epochs": 2})


@pytest.mark.native
def test_a_threshold_target_reproduces_the_run(world: Any) -> None:
    found, stored = _forecast(world, "lightgbm", "threshold_1w")
    assert found.columns == ["target", "series_id", "date", "probability"]
    assert found.equals(stored)


@pytest.mark.parametrize("name", ["naive", "har", "ewma", "seasonal_naive"])
def test_a_formula_reproduces_the_run(world: Any, name: str) -> None:
    assert _reproduces(world, name)


def test_one_model_per_series_reproduces_the_run(world: Any) -> None:
    assert Bundle.open(world.made("har", har={"scope": "series"})).parts == ("0", "1")
    assert _reproduces(world, "har", har={"scope": "series"})


def test_an_ensemble_reproduces_the_run(world: Any) -> None:
    assert _reproduces(world, "ensemble", **MIXING)


def test_weights_that_move_with_the_regime_reproduce_the_run(world: Any) -> None:
    learned = {"members": ["har", "drift"], "weights": "learned", "regime_features": ["regime", "*_vol_*"]}
    assert _reproduces(world, "meta_learning", among=["har", "drift"], meta_learning=learned)


@pytest.mark.native
def test_an_ensemble_of_two_engines_reproduces_the_run(world: Any) -> None:
    """The torch member forecasts in a process of its own, which ends with the forecaster."""
    mixing = {"among": ["lightgbm_quantile", "gru"], "ensemble": {"members": ["lightgbm_quantile", "gru"]}}
    assert _reproduces(world, "ensemble", **mixing)
    names = [child.cmdline() for child in psutil.Process().children()]
    assert not [name for name in names if "raytrain.deploy.remote" in name]


def test_a_member_whose_process_dies_is_told(world: Any) -> None:
    bundle = Bundle.open(world.made("har"))
    remote = Remote(bundle)
    forecaster = Forecaster(bundle, remote)
    try:
        assert forecaster.forecast(world.table).height == 2
        psutil.Process(remote.pid).kill()
        with pytest.raises(ModelEnded, match="has ended with code -9; load it again"):
            forecaster.forecast(world.table)
    finally:
        forecaster.close()


def test_a_member_that_cannot_be_loaded_says_why(world: Any, tmp_path: Path) -> None:
    bundle = Bundle.open(shutil.copytree(world.made("har"), tmp_path / "b"))
    (bundle.folder / "card.md").write_text("")
    forecaster = Forecaster(bundle, Remote(bundle))
    try:
        with pytest.raises(ForecastFailed, match=r"har return_1w latest s42 cannot forecast: .* card.md was changed"):
            forecaster.forecast(world.table)
    finally:
        forecaster.close()


def test_several_seeds_are_averaged_as_in_the_run(world: Any, tmp_path: Path) -> None:
    specs = [world.fitted("gjr", seed=seed, gjr={"num_paths": 500}) for seed in (1, 2, 3)]
    assert len({tuple(world.stored(spec)["q0.9"]) for spec in specs}) == 3
    folder = world.bundle(tmp_path / "b", specs[0], seeds=specs[1:])
    with Forecaster.load(folder) as forecaster:
        found = forecaster.forecast(world.table)
    bundle = forecaster.bundle
    frame = make_frame(world.table, bundle.data, "the test", "test")
    whole = collect(frame, specs[0].targets, specs, world.store)
    expected = as_forecast(whole, {("return_1w", "gjr"): "HOLD"})
    assert found.equals(expected.select(found.columns))


def test_prices_are_those_of_the_run(world: Any) -> None:
    spec = world.fitted("har")
    with Forecaster.load(world.made("har")) as forecaster:
        found = forecaster.forecast(world.table)
        frame = make_frame(world.table, forecaster.bundle.data, "the test", "test")
    expected = as_forecast(collect(frame, spec.targets, [spec], world.store), {("return_1w", "har"): "HOLD"})
    assert found.equals(expected.select(found.columns))
    close = world.table.filter(series_id="A")["close"][-1]
    assert found["close"][0] == close
    assert found["price_q0.5"][0] == pytest.approx(close * np.exp(found["q0.5"][0]))


def test_new_rows_move_the_origin(world: Any) -> None:
    """A bundle is for tomorrow: what it gives is what the same model gives on rows that the run had not seen."""
    cut = world.table.filter(pl.col("date") <= pl.datetime(2020, 5, 1))
    with Forecaster.load(world.made("har")) as forecaster:
        before, after = (forecaster.forecast(table) for table in (cut, world.table))
    assert before["date"].unique().to_list() != after["date"].unique().to_list()
    assert before["q0.9"].to_list() != after["q0.9"].to_list()


def test_a_series_alone_is_still_itself(world: Any) -> None:
    """Its number in the model is that of the run, not of the rows given."""
    how = {"har": {"scope": "series"}}
    with Forecaster.load(world.made("har", **how)) as forecaster:
        both = forecaster.forecast(world.table)
        alone = forecaster.forecast(world.table.filter(series_id="B"))
    assert alone.equals(both.filter(series_id="B"))
    assert alone["q0.9"][0] != both["q0.9"][0]


def test_codes_are_those_of_the_run(world: Any) -> None:
    """In rows that begin elsewhere, categories appear in another order."""
    learned = {"members": ["har", "drift"], "weights": "learned", "regime_features": ["regime"]}
    how = {"among": ["har", "drift"], "meta_learning": learned}
    folder = world.made("meta_learning", **how)
    starts = {tuple(world.table[first:]["regime"].unique(maintain_order=True)) for first in range(20)}
    assert len(starts) > 1
    with Forecaster.load(folder) as forecaster:
        codes = [
            forecaster.explain(world.table.filter(series_id="A")[first:]).table["q0.5"].to_list() for first in range(20)
        ]
    assert np.ptp(codes) < 1e-4


def test_later_series_are_told(world: Any) -> None:
    behind = world.table.filter((pl.col("series_id") == "A") | (pl.col("date") < pl.datetime(2020, 5, 10)))
    with Forecaster.load(world.made("har")) as forecaster:
        told = forecaster.explain(behind)
    assert told.table["series_id"].to_list() == ["A", "B"]
    assert "the newest row of B is of 2020-05-09" in told.notes[-1]


def test_as_few_rows_as_the_schema_says(world: Any) -> None:
    bundle = Bundle.open(world.made("har"))
    need = bundle.schema.warm_up_rows
    newest = world.table.filter(series_id="A")
    with Forecaster.load(bundle) as forecaster:
        assert forecaster.forecast(newest[-need:]).height == 1
        with pytest.raises(BundleInput, match=f"at least {need} rows of a series, got {need - 1} of A"):
            forecaster.forecast(newest[1 - need :])
