"""Kernels against plain loops, on ugly data too; neither later rows nor neighbours change a bit."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.features.steps import kernels

Array = np.ndarray
Kernel = Callable[[Array], Array]
KERNELS: dict[str, Kernel] = {
    "change": lambda x: kernels.change(x, 3),
    "log_change": lambda x: kernels.log_change(x, 3),
    "rolling_mean": lambda x: kernels.rolling_mean(x, 13),
    "rolling_std": lambda x: kernels.rolling_std(x, 21),
    "score": lambda x: kernels.score(x, 6),
    "smoothed": lambda x: kernels.smoothed(x, 14, 1 / 14),
    "faded_mean": lambda x: kernels.faded_mean(x, 5),
}


@st.composite
def ugly(draw: st.DrawFn, most: int = 150) -> Array:
    """(1, series, rows) positive values: runs that stand still, hardly move, or wander, at very different levels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, gaps = draw(st.integers(1, most)), draw(st.booleans())
    series = []
    for _ in range(draw(st.integers(1, 3))):
        parts = [np.empty(0)]
        while sum(map(len, parts)) < rows:
            level, length = 10.0 ** draw(st.integers(-2, 5)), draw(st.integers(1, 60))
            ticks = np.cumsum(rng.integers(-9, 10, length))
            part = level * np.exp(draw(st.sampled_from([0.0, 1e-9, 1e-6, 1e-2])) * ticks)
            part[rng.random(length) < draw(st.sampled_from([0.0, 0.1, 1.0])) * gaps] = np.nan
            parts.append(part)
        series.append(np.concatenate(parts)[:rows])
    return np.array([series])


def known_in_window(x: Array, row: int, rows: int) -> Array:
    """The known values of a window; none where too few are known."""
    window = x[max(0, row - rows + 1) : row + 1]
    window = window[~np.isnan(window)]
    return window if len(window) >= max(2, math.ceil(0.8 * rows)) else window[:0]


def each_row(x: Array, one: Callable[[Array, int], float]) -> Array:
    """A loop over the rows of all series."""
    return np.array([[[one(series, row) for row in range(len(series))] for series in column] for column in x])


def deviation(window: Array) -> float:
    """Of numbers that are near each other: exact, because their differences from the first one are."""
    return float(np.std(window - window[0], ddof=1)) if len(window) else math.nan


@settings(max_examples=60, deadline=None)
@given(x=ugly(), rows=st.integers(2, 40))
def test_rolling_statistics_equal_a_loop(x: Array, rows: int) -> None:
    def mean(series: Array, row: int) -> float:
        window = known_in_window(series, row, rows)
        return math.fsum(window) / len(window) if len(window) else math.nan

    def std(series: Array, row: int) -> float:
        return deviation(known_in_window(series, row, rows))

    def score(series: Array, row: int) -> float:
        window = known_in_window(series, row, rows)
        if not len(window) or not deviation(window):
            return math.nan
        return float(((series[row] - window[0]) - np.mean(window - window[0])) / deviation(window))

    np.testing.assert_allclose(kernels.rolling_mean(x, rows), each_row(x, mean), rtol=1e-12)
    np.testing.assert_allclose(kernels.rolling_std(x, rows), each_row(x, std), rtol=1e-6)
    np.testing.assert_allclose(kernels.score(x, rows), each_row(x, score), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 7, 21, 63])
def test_a_window_that_does_not_move_has_no_deviation(rows: int) -> None:
    x = np.r_[1e-3, np.random.default_rng(0).normal(1e6, 1e5, 100), np.full(100, 1 / 3), np.full(100, 1e5 / 7)][None]
    still = [*range(100 + rows, 201), *range(200 + rows, 301)]
    assert (kernels.rolling_std(x, rows)[0, still] == 0).all()
    assert np.isnan(kernels.score(x, rows)[0, still]).all()
    assert (kernels.rolling_std(x, rows)[0, rows : 100 + rows] > 0).all()


def test_what_has_left_the_window_leaves_no_trace() -> None:
    """Ticks of a cent at a price of 100,000, behind prices of a few cents and a jump in between."""
    rng = np.random.default_rng(1)
    ticks = 1e5 + 0.01 * rng.integers(-3, 4, 300)
    after = np.r_[rng.normal(0.05, 0.01, 100), 1e9, ticks][None]
    np.testing.assert_allclose(kernels.rolling_std(after, 21)[0, -270:], kernels.rolling_std(ticks[None], 21)[0, -270:])


@settings(max_examples=60, deadline=None)
@given(x=ugly(), rows=st.integers(1, 30))
def test_recursive_averages_equal_a_loop(x: Array, rows: int) -> None:
    weight, decay = 2 / (rows + 1), 0.5 ** (1 / rows)
    average, faded = np.full_like(x, np.nan), np.full_like(x, np.nan)
    for place in np.ndindex(x.shape[:-1]):
        seen: list[float] = []
        value, top, bottom = math.nan, 0.0, 0.0
        for row in np.flatnonzero(~np.isnan(x[place])):
            seen.append(x[(*place, row)])
            value = (1 - weight) * value + weight * seen[-1]
            top, bottom = decay * top + seen[-1], decay * bottom + 1
            if len(seen) == rows:
                value = math.fsum(seen) / rows
            if len(seen) >= rows:
                average[(*place, row)], faded[(*place, row)] = value, top / bottom
    np.testing.assert_allclose(kernels.smoothed(x, rows, weight), average, rtol=1e-12)
    np.testing.assert_allclose(kernels.faded_mean(x, rows), faded, rtol=1e-12)


def test_a_recursive_average_remembers_thousands_of_rows() -> None:
    """A move of long ago still says that all movement was upward."""
    x = np.r_[1.0, np.zeros(6000)][None]
    found = kernels.smoothed(x, 14, 1 / 14)[0, 13:]
    np.testing.assert_allclose(found, (1 / 14) * (13 / 14) ** np.arange(len(found)), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(x=ugly(), cut=st.integers(1, 150))
@pytest.mark.parametrize("name", KERNELS)
def test_neither_later_rows_nor_neighbours_change_a_bit(name: str, x: Array, cut: int) -> None:
    compute = KERNELS[name]
    with np.errstate(all="ignore"):
        whole = compute(x)
        assert compute(x[..., :cut]).tobytes() == whole[..., :cut].tobytes()
        alone = [compute(x[:, number : number + 1]) for number in range(x.shape[1])]
    assert np.concatenate(alone, axis=1).tobytes() == whole.tobytes()


def test_a_ratio_to_zero_is_unknown() -> None:
    found = kernels.ratio(np.array([1.0, 0.0, -3.0]), np.array([0.0, -0.0, 2.0]))
    np.testing.assert_array_equal(found, [np.nan, np.nan, -1.5])
