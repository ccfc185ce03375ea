"""Rolling statistics against plain loops over the rows of one series."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from raytrain.data import Frame

Compute = Callable[..., dict[str, np.ndarray]]
Values = Sequence[float]


def window(values: Values, row: int, rows: int) -> list[float]:
    """The known values of the window; none where too few are known."""
    known = [value for value in values[max(0, row - rows + 1) : row + 1] if not math.isnan(value)]
    return known if len(known) >= max(2, math.ceil(0.8 * rows)) else []


def changes(values: Values) -> list[float]:
    return [math.nan, *(math.log(after / before) for before, after in pairwise(values))]


def mean(values: Values, row: int, rows: int) -> float:
    found = window(values, row, rows)
    return float(np.mean(found)) if found else math.nan


def std(values: Values, row: int, rows: int) -> float:
    found = window(values, row, rows)
    return float(np.std(found, ddof=1)) if found else math.nan


def zscore(values: Values, row: int, rows: int) -> float:
    return (values[row] - mean(values, row, rows)) / std(values, row, rows)


def bollinger(values: Values, row: int, rows: int) -> float:
    found = window(values, row, rows)
    if not found:
        return math.nan
    low, high = (np.mean(found) + sign * 2 * np.std(found) for sign in (-1, 1))
    return float((values[row] - low) / (high - low))


def volatility(values: Values, row: int, rows: int) -> float:
    return std(changes(values), row, rows)


LOOPS = {
    "rolling_mean": (mean, "mean"),
    "rolling_std": (std, "std"),
    "zscore": (zscore, "z"),
    "bollinger": (bollinger, "bb"),
    "volatility": (volatility, "vol"),
}


@pytest.mark.parametrize("column", ["close", "other"])
@pytest.mark.parametrize("rows", [2, 5, 14])
@pytest.mark.parametrize("name", LOOPS)
def test_equals_a_loop(
    name: str, rows: int, column: str, frame: Frame, parts: list[pl.DataFrame], compute: Compute
) -> None:
    loop, short = LOOPS[name]
    found = compute(frame, step=name, columns=[column], rows=[rows])
    assert list(found) == [f"{column}_{short}_{rows}"]
    expected = [loop(part[column].to_list(), row, rows) for part in parts for row in range(part.height)]
    np.testing.assert_allclose(found[f"{column}_{short}_{rows}"], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("half_life", [2, 7])
def test_ewma_volatility_equals_a_loop(
    half_life: int, frame: Frame, parts: list[pl.DataFrame], compute: Compute
) -> None:
    expected = []
    for part in parts:
        top = bottom = 0.0
        for row, change in enumerate(changes(part["close"].to_list())):
            if row:
                decay = 0.5 ** (1 / half_life)
                top, bottom = decay * top + change**2, decay * bottom + 1
            expected.append(math.sqrt(top / bottom) if row >= half_life else math.nan)
    found = compute(frame, step="ewma_volatility", half_life=[half_life])
    np.testing.assert_allclose(found[f"close_ewmavol_{half_life}"], expected, rtol=2e-5)


@pytest.mark.parametrize("name", ["zscore", "bollinger"])
def test_a_place_in_a_window_that_does_not_move_is_unknown(
    name: str, one_series: Callable[..., Frame], compute: Compute
) -> None:
    other = np.r_[np.random.default_rng(5).normal(1000, 300, 30), np.full(30, 3.3)]
    (found,) = compute(one_series(other=other), step=name, columns=["other"], rows=[10]).values()
    assert not np.isnan(found[10:30]).any()
    assert np.isnan(found[39:]).all()
