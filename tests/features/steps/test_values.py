"""Values now and some rows ago against plain loops."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest

from raytrain.data import Frame

Compute = Callable[..., dict[str, np.ndarray]]
Values = Sequence[float]


def lag(values: Values, row: int, rows: int) -> float:
    return values[row - rows] if row >= rows else math.nan


def log_return(values: Values, row: int, rows: int) -> float:
    return math.log(values[row] / values[row - rows]) if row >= rows else math.nan


def difference(values: Values, row: int, rows: int) -> float:
    return values[row] - values[row - rows] if row >= rows else math.nan


LOOPS = {"lag": (lag, "lag"), "log_return": (log_return, "ret"), "difference": (difference, "diff")}


@pytest.mark.parametrize("column", ["close", "other"])
@pytest.mark.parametrize("rows", [1, 5, 14])
@pytest.mark.parametrize("name", LOOPS)
def test_equals_a_loop(
    name: str, rows: int, column: str, frame: Frame, parts: list[pl.DataFrame], compute: Compute
) -> None:
    loop, short = LOOPS[name]
    found = compute(frame, step=name, columns=[column], rows=[rows])
    assert list(found) == [f"{column}_{short}_{rows}"]
    expected = [loop(part[column].to_list(), row, rows) for part in parts for row in range(part.height)]
    np.testing.assert_allclose(found[f"{column}_{short}_{rows}"], expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "name"), [("difference", "close_minus_other"), ("ratio", "close_over_other")])
def test_spreads(kind: str, name: str, frame: Frame, parts: list[pl.DataFrame], compute: Compute) -> None:
    found = compute(frame, step="spread", left="close", right="other", kind=kind, zscore_rows=[10])
    assert list(found) == [name, f"{name}_z_10"]
    left, right = (frame.table[column].to_numpy() for column in ("close", "other"))
    spread = left - right if kind == "difference" else left / right
    np.testing.assert_allclose(found[name], spread, rtol=1e-6)
    scores, start = [], 0
    for part in parts:
        for row in range(part.height):
            window = spread[start + max(0, row - 9) : start + row + 1]
            window = window[~np.isnan(window)]
            enough = len(window) >= 8 and not math.isnan(spread[start + row])
            scores.append((spread[start + row] - window.mean()) / window.std(ddof=1) if enough else math.nan)
        start += part.height
    np.testing.assert_allclose(found[f"{name}_z_10"], scores, rtol=2e-5, atol=1e-6)


def test_a_ratio_to_zero_is_unknown(one_series: Callable[..., Frame], compute: Compute) -> None:
    found = compute(one_series(other=[0.0, 5.0, -2.0]), step="spread", left="close", right="other", kind="ratio")
    np.testing.assert_array_equal(found["close_over_other"], [np.nan, 2, -5])
