"""Labels against plain loops: the last rows, one row ahead, the window of a threshold."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raytrain.data import Frame
from raytrain.errors import DataError
from raytrain.features.targets import TargetConfig, ahead_to_price, build_target

AsFrame = Callable[..., Frame]
HORIZONS = [1, 5, 20]


def loop(frame: Frame, horizon: int, label: Callable[[list[float], list[float], int], float]) -> list[Any]:
    """The label of every row that has one, None for the others."""
    found: list[Any] = []
    for part in frame.table.partition_by("series_id", maintain_order=True):
        close, high = part[frame.price].to_list(), part[frame.high].to_list()
        known = range(part.height - horizon)
        found += [label(close, high, row) if row in known else None for row in range(part.height)]
    return found


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("kind", ["return", "price"])
@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("log", lambda now, then: math.log(then / now)),
        ("simple", lambda now, then: then / now - 1),
        ("difference", lambda now, then: then - now),
    ],
)
def test_forward_returns(
    method: str, change: Callable[[float, float], float], kind: str, horizon: int, frame: Frame
) -> None:
    found = build_target(frame, TargetConfig(kind=kind, horizon=horizon, method=method))
    expected = loop(frame, horizon, lambda close, _, row: change(close[row], close[row + horizon]))
    assert found["y"].is_null().to_list() == [value is None for value in expected]
    np.testing.assert_allclose(found["y"].drop_nulls(), [value for value in expected if value is not None], rtol=1e-12)


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("threshold", [0.001, 0.01, 0.05])
def test_thresholds_look_at_exactly_the_next_rows(threshold: float, horizon: int, frame: Frame) -> None:
    found = build_target(frame, TargetConfig(kind="threshold", horizon=horizon, threshold=threshold))

    def reached(close: list[float], high: list[float], row: int) -> float:
        ahead = [high[row + step] for step in range(1, horizon + 1)]
        assert len(ahead) == horizon
        return float(max(ahead) >= close[row] * (1 + threshold))

    assert found["y"].to_list() == loop(frame, horizon, reached)


def test_a_threshold_does_not_see_its_own_row_nor_one_too_many(as_frame: AsFrame) -> None:
    days = [datetime(2020, 1, 1) + timedelta(days=i) for i in range(6)]
    frame = as_frame(pl.DataFrame({"date": days, "close": [100.0, 100.0, 100.0, 101.0, 100.0, 100.0]}))
    target = {"kind": "threshold", "threshold": 0.01}
    one, two = (build_target(frame, TargetConfig.model_validate(target | {"horizon": h}))["y"] for h in (1, 2))
    assert one.to_list() == [0, 0, 1, 0, 0, None]
    assert two.to_list() == [0, 1, 1, 0, None, None]


def test_the_high_counts_when_there_is_one(as_frame: AsFrame) -> None:
    days = [datetime(2020, 1, 1) + timedelta(days=i) for i in range(3)]
    table = pl.DataFrame({"date": days, "close": [100.0, 100.0, 100.0], "top": [100.0, 102.0, 100.0]})
    target = TargetConfig(kind="threshold", horizon=1)
    assert build_target(as_frame(table), target)["y"].to_list() == [0, 0, None]
    assert build_target(as_frame(table, high="top"), target)["y"].to_list() == [1, 0, None]


@settings(max_examples=25, deadline=None)
@given(horizon=st.integers(1, 200))
def test_dates_and_prices_ahead_are_of_the_same_series(horizon: int, frame: Frame) -> None:
    """The series have unequal calendars: a label is `horizon` rows of its own series away, not days."""
    found = pl.concat([frame.table, build_target(frame, TargetConfig(horizon=horizon))], how="horizontal")
    for part in found.partition_by("series_id"):
        ahead = part["date"].to_list()[horizon:] + [None] * min(horizon, part.height)
        assert part["label_date"].to_list() == ahead
        assert part["price_ahead"].to_list()[:-horizon] == part["close"].to_list()[horizon:]
        assert part["y"].null_count() == min(horizon, part.height)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(25, 158), horizon=st.sampled_from(HORIZONS), kind=st.sampled_from(["return", "threshold"]))
def test_a_label_uses_nothing_after_its_date(
    cut: int, horizon: int, kind: str, table: pl.DataFrame, as_frame: AsFrame
) -> None:
    last = table["date"].unique().sort()[cut]
    future = pl.col("date") > last
    poisoned = table.with_columns(pl.when(future).then(1e6).otherwise(name).alias(name) for name in ("close", "high"))
    target = TargetConfig(kind=kind, horizon=horizon)
    clean = build_target(as_frame(table, high="high"), target)
    known = clean["label_date"].is_not_null() & (clean["label_date"] <= last)
    assert known.any()
    assert build_target(as_frame(poisoned, high="high"), target).filter(known).equals(clean.filter(known))


def test_differences_allow_negative_prices_and_ratios_do_not(table: pl.DataFrame, as_frame: AsFrame) -> None:
    """As WTI on 2020-04-20."""
    frame = as_frame(table.with_columns(close=pl.when(pl.int_range(pl.len()) == 9).then(-37.63).otherwise("close")))
    y = build_target(frame, TargetConfig(method="difference"))["y"]
    assert y[8] == pytest.approx(-37.63 - table["close"][8])
    for method in ("log", "simple"):
        with pytest.raises(DataError) as error:
            build_target(frame, TargetConfig(method=method))
        assert f"positive for return_1r ({method}), got -37.63 in `close` for A on 2020-01-10" in str(error.value)
        assert "use `method: difference`, or drop these rows" in str(error.value)


def test_a_threshold_needs_positive_prices_and_says_no_nonsense(table: pl.DataFrame, as_frame: AsFrame) -> None:
    frame = as_frame(table.with_columns(close=pl.when(pl.int_range(pl.len()) == 9).then(0.0).otherwise("close")))
    with pytest.raises(DataError) as error:
        build_target(frame, TargetConfig(kind="threshold"))
    assert str(error.value).endswith("; drop these rows")


def test_names_and_labels() -> None:
    assert TargetConfig(horizon=5).name == "return_5r"
    assert TargetConfig(kind="price", horizon=21, label="1m").name == "price_1m"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"horizon": 0}, "greater than or equal to 1"),
        ({"kind": "threshold", "threshold": 0}, "greater than 0"),
        ({"kind": "threshold", "method": "simple"}, "leave `method` out"),
        ({"kind": "level"}, "'return', 'price' or 'threshold'"),
        ({"label": "../1w"}, "match pattern"),
        ({"label": "1 week"}, "match pattern"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TargetConfig.model_validate(fields)


@pytest.mark.parametrize("method", ["log", "simple", "difference"])
def test_a_known_change_leads_back_to_the_price(method: Any, frame: Frame) -> None:
    labels = build_target(frame, TargetConfig(horizon=5, method=method))
    price = pl.concat([frame.table, labels], how="horizontal").select(
        ahead_to_price(pl.col("close"), pl.col("y"), method)
    )
    np.testing.assert_allclose(price.to_series().drop_nulls(), labels["price_ahead"].drop_nulls(), rtol=1e-12)
