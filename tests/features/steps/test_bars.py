"""Volatility of bars against loops, and against the volatility that made the bars."""

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from raytrain.data import Frame
from raytrain.errors import DataError

Compute = Callable[..., dict[str, np.ndarray]]
Row = dict[str, float]


def true_range(row: Row, before: Row) -> float:
    return max(row["high"] - row["low"], abs(row["high"] - before["close"]), abs(row["low"] - before["close"]))


@pytest.mark.parametrize("relative", [False, True])
def test_atr_is_wilders(relative: bool, frame: Frame, parts: list[pl.DataFrame], compute: Compute) -> None:
    expected: list[float] = []
    for part in parts:
        rows, ranges, average = part.to_dicts(), [], math.nan
        for row, before in zip(rows, [None, *rows[:-1]], strict=True):
            if before is not None:
                ranges.append(true_range(row, before))
                if len(ranges) == 5:
                    average = sum(ranges) / 5
                elif len(ranges) > 5:
                    average = (average * 4 + ranges[-1]) / 5
            expected.append(average / (row["close"] if relative else 1))
    found = compute(frame, step="atr", rows=5, relative=relative)
    np.testing.assert_allclose(found["close_natr_5" if relative else "close_atr_5"], expected, rtol=2e-5)


def test_a_row_without_its_range_is_left_out_of_atr(one_series: Callable[..., Frame], compute: Compute) -> None:
    """True ranges 2, -, 4, 3: the average of the first two known is 3, then (3 + 3) / 2."""
    frame = one_series(
        close=[10.0, 10.0, 10.0, 10.0, 10.0],
        high=[11.0, 11.0, np.nan, 12.0, 11.0],
        low=[9.0, 9.0, 9.0, 8.0, 8.0],
    )
    found = compute(frame, step="atr", rows=2)["close_atr_2"]
    np.testing.assert_allclose(found, [np.nan, np.nan, np.nan, 3, 3])


def squared_close(row: Row, before: Row | None) -> float:
    return math.nan if before is None else math.log(row["close"] / before["close"]) ** 2


def parkinson(row: Row, before: Row | None) -> float:
    return math.log(row["high"] / row["low"]) ** 2 / (4 * math.log(2))


def garman_klass(row: Row, before: Row | None) -> float:
    span, move = math.log(row["high"] / row["low"]), math.log(row["close"] / row["open"])
    return 0.5 * span**2 - (2 * math.log(2) - 1) * move**2


METHODS = {"close": (squared_close, "rv"), "parkinson": (parkinson, "parkinson"), "garman_klass": (garman_klass, "gk")}


@pytest.mark.parametrize("rows", [2, 5, 10])
@pytest.mark.parametrize("method", METHODS)
def test_realised_volatility_equals_a_loop(
    method: str, rows: int, frame: Frame, parts: list[pl.DataFrame], compute: Compute
) -> None:
    one, short = METHODS[method]
    expected = []
    for part in parts:
        bars = part.to_dicts()
        variances = [one(row, before) for row, before in zip(bars, [None, *bars[:-1]], strict=True)]
        for row in range(len(variances)):
            known = [value for value in variances[max(0, row - rows + 1) : row + 1] if not math.isnan(value)]
            expected.append(math.sqrt(np.mean(known)) if len(known) >= max(2, math.ceil(0.8 * rows)) else math.nan)
    found = compute(frame, step="realised_volatility", method=method, rows=[rows])
    np.testing.assert_allclose(found[f"close_{short}_{rows}"], expected, rtol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_volatility_that_made_the_bars(
    method: str, one_series: Callable[..., Frame], compute: Compute
) -> None:
    """Bars of a random walk of 500 moves with a deviation of 2 % a bar; a range seen in moves is a little short."""
    rng = np.random.default_rng(3)
    path = np.cumsum(rng.normal(0, 0.02 / math.sqrt(500), (300, 500)).ravel()).reshape(300, 500)
    bars = np.exp(path)
    first = np.r_[1.0, bars[:-1, -1]]
    frame = one_series(
        close=bars[:, -1],
        open=first,
        high=np.maximum(first, bars.max(axis=1)),
        low=np.minimum(first, bars.min(axis=1)),
    )
    (found,) = compute(frame, step="realised_volatility", method=method, rows=[250]).values()
    assert found[-1] == pytest.approx(0.02, rel=0.12 if method == "close" else 0.08)


def test_prices_outside_their_bar_give_no_negative_variance(one_series: Callable[..., Frame], compute: Compute) -> None:
    frame = one_series(open=[5.0] * 6, high=[10.0] * 6, low=[10.0] * 6)
    (found,) = compute(frame, step="realised_volatility", method="garman_klass", rows=[2]).values()
    np.testing.assert_array_equal(found, [np.nan, 0, 0, 0, 0, 0])


def test_bars_must_be_positive(one_series: Callable[..., Frame], compute: Compute) -> None:
    frame = one_series(high=[10.0, 10.0], low=[1.0, -1.0])
    with pytest.raises(DataError, match=r"needs values above 0, got -1\.0 in `low`"):
        compute(frame, step="realised_volatility", method="parkinson", rows=[2])
