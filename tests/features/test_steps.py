"""Every step against a plain loop over the rows of one series, and its look-back against the rows it really needs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from raytrain.data import Frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.steps import AnyStep, Step

Values = Sequence[float]
Loop = Callable[[Values, int, int], float]
"""(values of one series, row, rows) -> the feature of that row."""


def step(**fields: Any) -> Step:
    return TypeAdapter(AnyStep).validate_python(fields)


def lag(values: Values, row: int, rows: int) -> float:
    return values[row - rows] if row >= rows else math.nan


def log_return(values: Values, row: int, rows: int) -> float:
    return math.log(values[row] / values[row - rows]) if row >= rows else math.nan


def difference(values: Values, row: int, rows: int) -> float:
    return values[row] - values[row - rows] if row >= rows else math.nan


def known(values: Values) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def volatility(values: Values, row: int, rows: int) -> float:
    window = known([log_return(values, i, 1) for i in range(max(0, row - rows + 1), row + 1)])
    return float(np.std(window, ddof=1)) if len(window) >= max(2, math.ceil(0.8 * rows)) else math.nan


def zscore(values: Values, row: int, rows: int) -> float:
    window = known(values[max(0, row - rows + 1) : row + 1])
    if len(window) < max(2, math.ceil(0.8 * rows)) or math.isnan(values[row]):
        return math.nan
    deviation = float(np.std(window, ddof=1))
    return (values[row] - float(np.mean(window))) / deviation if deviation > 0 else math.nan


def rsi(values: Values, row: int, rows: int) -> float:
    """Wilder's own recipe: average gain and loss of the first `rows` changes, then (old * (rows - 1) + new) / rows."""
    changes = [values[i] - values[i - 1] for i in range(1, row + 1)]
    if math.isnan(values[row]) or (row and math.isnan(changes[-1])):
        return math.nan
    changes = known(changes)
    if len(changes) < rows:
        return math.nan
    up = sum(max(change, 0) for change in changes[:rows]) / rows
    down = sum(max(-change, 0) for change in changes[:rows]) / rows
    for change in changes[rows:]:
        up = (up * (rows - 1) + max(change, 0)) / rows
        down = (down * (rows - 1) + max(-change, 0)) / rows
    return 100 - 100 / (1 + up / down) if down else 100.0 if up else 50.0


LOOPS: dict[str, tuple[Loop, str]] = {
    "lag": (lag, "lag"),
    "log_return": (log_return, "ret"),
    "difference": (difference, "diff"),
    "volatility": (volatility, "vol"),
    "zscore": (zscore, "z"),
    "rsi": (rsi, "rsi"),
}


def parts(frame: Frame) -> list[pl.DataFrame]:
    return frame.table.partition_by("series_id", maintain_order=True)


@pytest.mark.parametrize("column", ["close", "other"])
@pytest.mark.parametrize("rows", [2, 5, 14])
@pytest.mark.parametrize("name", LOOPS)
def test_equals_a_loop(name: str, rows: int, column: str, frame: Frame) -> None:
    loop, short = LOOPS[name]
    one = step(step=name, columns=(column,), rows=rows if name == "rsi" else (rows,))
    found = build(frame, FeaturesConfig(steps=(one,)))
    assert found.names == (f"{column}_{short}_{rows}",)
    expected = [loop(part[column].to_list(), row, rows) for part in parts(frame) for row in range(part.height)]
    np.testing.assert_allclose(found.x[:, 0], expected, rtol=2e-5, atol=1e-6)


def test_rsi_of_wilders_kind_by_hand(as_frame: Callable[[pl.DataFrame], Frame]) -> None:
    """Changes +2 -1 +3 | -2: averages 5/3 and 1/3, then (2 * 5/3 + 0) / 3 and (2 * 1/3 + 2) / 3."""
    close = [10.0, 12.0, 11.0, 14.0, 12.0]
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 5), eager=True)
    frame = as_frame(pl.DataFrame({"date": days, "close": close}))
    x = build(frame, FeaturesConfig(steps=(step(step="rsi", rows=3),))).x[:, 0]
    assert np.isnan(x[:3]).all()
    np.testing.assert_allclose(x[3:], [100 * 5 / 6, 100 * (10 / 9) / (10 / 9 + 8 / 9)], rtol=1e-6)


@pytest.mark.parametrize(("change", "expected"), [(1.0, 100.0), (-1.0, 0.0), (0.0, 50.0)])
def test_rsi_at_its_ends(change: float, expected: float, as_frame: Callable[[pl.DataFrame], Frame]) -> None:
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 9), eager=True)
    frame = as_frame(pl.DataFrame({"date": days, "close": [100 + change * i for i in range(9)]}))
    x = build(frame, FeaturesConfig(steps=(step(step="rsi", rows=4),))).x[:, 0]
    assert np.isnan(x[:4]).all()
    assert (x[4:] == expected).all()


def test_a_column_that_begins_late_is_unknown_before(as_frame: Callable[[pl.DataFrame], Frame]) -> None:
    """As VIX beside S&P 500: what is not known yet is NaN, never a neutral-looking number."""
    rng = np.random.default_rng(4)
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 3, 1), eager=True)
    late = np.where(np.arange(len(days)) < 30, np.nan, 20 + rng.normal(size=len(days)))
    frame = as_frame(pl.DataFrame({"date": days, "close": 10.0, "vix": late}))
    steps = (
        step(step="rsi", columns=("vix",), rows=5),
        step(step="zscore", columns=("vix",), rows=(5,)),
        step(step="volatility", columns=("vix",), rows=(5,)),
        step(step="difference", columns=("vix",), rows=(1,)),
        step(step="as_is", columns=("vix",)),
    )
    x = build(frame, FeaturesConfig(steps=steps)).x
    first_known = (~np.isnan(x)).argmax(axis=0)
    assert first_known.tolist() == [35, 33, 34, 31, 30]


def test_zscore_of_a_window_that_does_not_move_is_unknown(as_frame: Callable[[pl.DataFrame], Frame]) -> None:
    rng = np.random.default_rng(5)
    days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 2, 29), eager=True)
    other = np.r_[rng.normal(1000, 300, 30), np.full(30, 3.3)]
    frame = as_frame(pl.DataFrame({"date": days, "close": 10.0, "other": other}))
    x = build(frame, FeaturesConfig(steps=(step(step="zscore", columns=("other",), rows=(10,)),))).x[:, 0]
    assert not np.isnan(x[10:30]).any()
    assert np.isnan(x[39:]).all()


def test_calendar(frame: Frame) -> None:
    found = build(frame, FeaturesConfig(steps=(step(step="calendar"),)))
    assert found.names == ("dow", "dom", "moy")
    expected = [(day.isoweekday(), day.day, day.month) for day in frame.table["date"]]
    np.testing.assert_array_equal(found.x, expected)


def test_calendar_has_hours_where_rows_do(as_frame: Callable[[pl.DataFrame], Frame]) -> None:
    hours = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 1, 3), "1h", eager=True)
    found = build(as_frame(pl.DataFrame({"date": hours, "close": 1.0})), FeaturesConfig(steps=(step(step="calendar"),)))
    assert found.names[-1] == "hour"
    np.testing.assert_array_equal(found.x[:, -1], [when.hour for when in hours])


FINITE = [
    step(step="as_is", columns=("close",)),
    step(step="lag", rows=(1, 7)),
    step(step="log_return", rows=(1, 7)),
    step(step="difference", rows=(1, 7)),
    step(step="volatility", rows=(5, 8)),
    step(step="zscore", rows=(5, 8)),
]


@pytest.mark.parametrize("one", FINITE, ids=lambda one: one.step)
def test_the_look_back_is_enough_and_not_too_much(
    one: Step, table: pl.DataFrame, as_frame: Callable[[pl.DataFrame], Frame]
) -> None:
    """Other values before a row's look-back leave it as it is; one more row reaches it."""
    row, config = 100, FeaturesConfig(steps=(one,))
    series = table.filter(series_id="A")

    def features_of_row(poisoned: int) -> np.ndarray:
        position = pl.int_range(pl.len())
        noise = 500 + 100 * (position % 3)
        poison = series.with_columns(close=pl.when(position < poisoned).then(noise).otherwise("close"))
        return build(as_frame(poison), config).x[row]

    clean, first_needed = features_of_row(0), row - one.lookback
    np.testing.assert_allclose(features_of_row(first_needed), clean, rtol=1e-6)
    assert not np.allclose(features_of_row(first_needed + 1), clean, rtol=1e-6)


@pytest.mark.parametrize("one", [*FINITE, step(step="rsi", rows=9)], ids=lambda one: one.step)
def test_values_exist_from_the_look_back_on(one: Step, frame: Frame) -> None:
    found = build(frame, FeaturesConfig(steps=(one,)))
    assert not np.isnan(found.x[found.usable]).any()
    lengths = [part.height for part in parts(frame)]
    expected = np.concatenate([np.arange(length) >= one.lookback for length in lengths])
    np.testing.assert_array_equal(found.usable, expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"step": "lag", "rows": ()},
        {"step": "lag", "rows": (0,)},
        {"step": "log_return", "rows": (-1,)},
        {"step": "volatility", "rows": (1,)},
        {"step": "zscore", "rows": (1,)},
        {"step": "zscore", "rows": ()},
        {"step": "rsi", "rows": 1},
        {"step": "lagg", "rows": (1,)},
        {"step": "lag"},
        {"step": "calendar", "rows": (1,)},
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**fields)
