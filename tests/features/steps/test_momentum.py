"""Recursive averages against the recipes in their books."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest

from raytrain.data import Frame

Compute = Callable[..., dict[str, np.ndarray]]
Values = Sequence[float]


def known(values: Values) -> list[float]:
    return [value for value in values if not math.isnan(value)]


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


@pytest.mark.parametrize("column", ["close", "other"])
@pytest.mark.parametrize("rows", [2, 5, 14])
def test_rsi_equals_a_loop(rows: int, column: str, frame: Frame, parts: list[pl.DataFrame], compute: Compute) -> None:
    found = compute(frame, step="rsi", columns=[column], rows=rows)
    expected = [rsi(part[column].to_list(), row, rows) for part in parts for row in range(part.height)]
    np.testing.assert_allclose(found[f"{column}_rsi_{rows}"], expected, rtol=2e-5, atol=1e-6)


def test_rsi_of_wilders_kind_by_hand(one_series: Callable[..., Frame], compute: Compute) -> None:
    """Changes +2 -1 +3 | -2: averages 5/3 and 1/3, then (2 * 5/3 + 0) / 3 and (2 * 1/3 + 2) / 3."""
    x = compute(one_series(close=[10.0, 12.0, 11.0, 14.0, 12.0]), step="rsi", rows=3)["close_rsi_3"]
    assert np.isnan(x[:3]).all()
    np.testing.assert_allclose(x[3:], [100 * 5 / 6, 100 * (10 / 9) / (10 / 9 + 8 / 9)], rtol=1e-6)


@pytest.mark.parametrize(("change", "expected"), [(1.0, 100.0), (-1.0, 0.0), (0.0, 50.0)])
def test_rsi_at_its_ends(change: float, expected: float, one_series: Callable[..., Frame], compute: Compute) -> None:
    x = compute(one_series(close=[100 + change * i for i in range(9)]), step="rsi", rows=4)["close_rsi_4"]
    assert np.isnan(x[:4]).all()
    assert (x[4:] == expected).all()


def exponential(values: Values, rows: int) -> list[float]:
    """Begins with the mean of the first `rows` known values; unknown where the value is."""
    average, seen, found = math.nan, [], []
    for value in values:
        if math.isnan(value):
            found.append(math.nan)
            continue
        seen.append(value)
        if len(seen) == rows:
            average = sum(seen) / rows
        elif len(seen) > rows:
            average += 2 / (rows + 1) * (value - average)
        found.append(average)
    return found


@pytest.mark.parametrize("column", ["close", "other"])
@pytest.mark.parametrize("relative", [False, True])
def test_macd_equals_a_loop(
    relative: bool, column: str, frame: Frame, parts: list[pl.DataFrame], compute: Compute
) -> None:
    found = compute(frame, step="macd", columns=[column], fast=3, slow=8, signal=4, relative=relative)
    name = f"{column}_{'ppo' if relative else 'macd'}"
    assert list(found) == [f"{name}_3_8_4", f"{name}_signal_3_8_4", f"{name}_hist_3_8_4"]
    lines, signals = [], []
    for part in parts:
        fast, slow = (exponential(part[column].to_list(), rows) for rows in (3, 8))
        line = [(a - b) / (b if relative else 1) for a, b in zip(fast, slow, strict=True)]
        lines += line
        signals += exponential(line, 4)
    expected = (lines, signals, np.subtract(lines, signals))
    for values, right in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(values, right, rtol=1e-4, atol=1e-6)
