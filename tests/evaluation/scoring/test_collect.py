"""Predictions beside what happened, and as a forecast in prices."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import make_frame
from raytrain.evaluation.scoring.collect import as_forecast, collect
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

DAYS = [datetime(2020, 1, 1) + timedelta(days=i) for i in range(6)]
RETURN = TargetConfig(horizon=2, label="2d")
PRICE = TargetConfig(kind="price", horizon=1, label="1d", method="difference")
TOUCH = TargetConfig(kind="threshold", horizon=1, label="1d", threshold=0.1)
FOLD = Fold(name="2020-01-03", train_start=None, cutoff=1, test_start=2, test_end=9)
SPEC = FitSpec(
    family="model",
    family_version=1,
    packages=(),
    params="{}",
    target=RETURN.name,
    target_configs=("{}",),
    task="regression",
    quantiles=(0.1, 0.5, 0.9),
    fold=FOLD,
    seed=42,
    device="cpu",
    features_hash="",
    labels_hash="",
    block_hash="",
    series_hash="",
)


@pytest.fixture
def frame() -> Frame:
    """A: 100, 110, ..., 150. B: 10, 11, ..., 15, one day later each."""
    parts = [
        pl.DataFrame(
            {
                "series_id": name,
                "date": [day + shift for day in DAYS],
                "close": [start * (1 + i / 10) for i in range(6)],
            }
        )
        for name, start, shift in (("A", 100.0, timedelta(0)), ("B", 10.0, timedelta(1)))
    ]
    return make_frame(pl.concat(parts), DataConfig(), "the test", "test")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


def keep(store: ResultStore, spec: FitSpec, rows: list[tuple[str, datetime]], **columns: list[float]) -> FitSpec:
    """A finished fit with these predictions."""
    table = {"target": spec.target, "series_id": [series for series, _ in rows], "date": [day for _, day in rows]}
    predictions = pl.DataFrame({**table, **{name.replace("_", "."): values for name, values in columns.items()}})
    floats = pl.col(pl.Float64).cast(pl.Float32)
    store.write(spec.key, predictions.with_columns(pl.col("date").cast(pl.Datetime("us")), floats), {})
    return spec


def test_outcomes_are_those_of_the_row(frame: Frame, store: ResultStore) -> None:
    rows = [("B", DAYS[3]), ("A", DAYS[2]), ("A", DAYS[5])]
    keep(store, SPEC, rows, q0_1=[-0.1, -0.2, -0.3], q0_5=[0.0, 0.1, 0.2], q0_9=[0.1, 0.2, 0.3])
    found = collect(frame, [RETURN], [SPEC], store)
    assert found.select("series_id", "date").rows() == rows, "the order is that of the predictions"
    assert found.row(0, named=True) == {
        "key": SPEC.key,
        "family": "model",
        "target": "return_2d",
        "kind": "return",
        "label": "2d",
        "horizon": 2,
        "method": "log",
        "fold": "2020-01-03",
        "seed": 42,
        "series_id": "B",
        "date": DAYS[3],
        "label_date": DAYS[5],
        "actual": pytest.approx(math.log(14 / 12)),
        "close": 12.0,
        "price_actual": 14.0,
        "q0.1": pytest.approx(-0.1),
        "q0.5": 0.0,
        "position": None,
        "q0.9": pytest.approx(0.1),
        "probability": None,
    }
    assert found["actual"].to_list() == pytest.approx([math.log(14 / 12), math.log(14 / 12), None])
    assert found.row(2, named=True)["label_date"] is None, "not known yet"


def test_families_of_different_kinds_share_a_table(frame: Frame, store: ResultStore) -> None:
    rows = [("A", DAYS[1])]
    point = replace(SPEC, family="point")
    price = replace(SPEC, target=PRICE.name)
    touch = replace(SPEC, target=TOUCH.name, task="binary")
    specs = [
        keep(store, SPEC, rows, q0_1=[-1.0], q0_5=[0.0], q0_9=[1.0]),
        keep(store, point, rows, q0_5=[0.5]),
        keep(store, price, rows, q0_1=[-1.0], q0_5=[4.0], q0_9=[1.0]),
        keep(store, touch, rows, probability=[0.25]),
    ]
    found = collect(frame, [RETURN, PRICE, TOUCH], reversed(specs), store)
    facts = found.select("family", "target", "kind", "method", "actual", "q0.1", "q0.5", "probability").rows()
    assert sorted(facts, key=str) == [
        ("model", "price_1d", "price", "difference", pytest.approx(10.0), -1.0, 4.0, None),
        ("model", "return_2d", "return", "log", pytest.approx(math.log(130 / 110)), -1.0, 0.0, None),
        ("model", "threshold_1d", "threshold", "log", 0.0, None, None, 0.25),
        ("point", "return_2d", "return", "log", pytest.approx(math.log(130 / 110)), None, 0.5, None),
    ]
    assert found.schema["q0.1"] == pl.Float32
    assert found.schema["probability"] == pl.Float32


def test_nothing_finished_is_an_empty_table(frame: Frame, store: ResultStore) -> None:
    assert collect(frame, [RETURN], [], store).is_empty()
    assert as_forecast(pl.DataFrame(), {}).is_empty()


@pytest.mark.parametrize(
    ("method", "expected"),
    [("log", 150 * math.exp(0.1)), ("simple", 150 * 1.1), ("difference", 150.1)],
)
def test_forecasts_in_prices_by_hand(method: Any, expected: float, frame: Frame, store: ResultStore) -> None:
    target = RETURN.model_copy(update={"method": method})
    keep(store, SPEC, [("A", DAYS[5])], q0_1=[-0.1], q0_5=[0.1], q0_9=[0.3])
    found = as_forecast(collect(frame, [target], [SPEC], store), {("return_2d", "model"): "REJECT"})
    assert found.columns == [
        *("target", "label", "horizon", "family", "verdict", "series_id", "date", "close"),
        *("q0.1", "q0.5", "q0.9", "price_q0.1", "price_q0.5", "price_q0.9", "probability"),
    ]
    row = found.row(0, named=True)
    assert (row["verdict"], row["close"], row["date"]) == ("REJECT", 150.0, DAYS[5])
    assert row["price_q0.5"] == pytest.approx(expected, rel=1e-6)
    assert row["price_q0.1"] < row["price_q0.5"] < row["price_q0.9"]


def test_seeds_are_averaged_in_a_forecast(frame: Frame, store: ResultStore) -> None:
    other = replace(SPEC, seed=43)
    rows = [("B", DAYS[5] + timedelta(1)), ("A", DAYS[5])]
    keep(store, SPEC, rows, q0_1=[-0.1, -0.2], q0_5=[0.0, 0.0], q0_9=[0.1, 0.2])
    keep(store, other, rows, q0_1=[-0.3, -0.4], q0_5=[0.2, 0.4], q0_9=[0.3, 0.6])
    found = as_forecast(collect(frame, [RETURN], [SPEC, other], store), {("return_2d", "model"): "HOLD"})
    assert found["series_id"].to_list() == ["A", "B"]
    assert found["q0.5"].to_list() == pytest.approx([0.2, 0.1])
    assert found["price_q0.5"].to_list() == pytest.approx([150 * math.exp(0.2), 15 * math.exp(0.1)], rel=1e-6)


def test_a_forecast_is_ordered_and_keeps_its_verdicts(frame: Frame, store: ResultStore) -> None:
    rows = [("A", DAYS[5])]
    price = replace(SPEC, target=PRICE.name, family="other")
    touch = replace(SPEC, target=TOUCH.name, task="binary")
    specs = [
        keep(store, SPEC, rows, q0_5=[0.0]),
        keep(store, touch, rows, probability=[0.25]),
        keep(store, price, rows, q0_5=[1.0]),
    ]
    verdicts = {("return_2d", "model"): "HOLD", ("threshold_1d", "model"): "REJECT", ("price_1d", "other"): "PROMOTE"}
    found = as_forecast(collect(frame, [RETURN, PRICE, TOUCH], specs, store), verdicts)
    assert found.select("target", "verdict", "price_q0.5", "probability").rows() == [
        ("price_1d", "PROMOTE", 151.0, None),
        ("threshold_1d", "REJECT", None, 0.25),
        ("return_2d", "HOLD", 150.0, None),
    ]


def test_a_forecast_without_a_verdict_is_a_defect(frame: Frame, store: ResultStore) -> None:
    keep(store, SPEC, [("A", DAYS[5])], q0_5=[0.0])
    with pytest.raises(KeyError):
        as_forecast(collect(frame, [RETURN], [SPEC], store), {})
