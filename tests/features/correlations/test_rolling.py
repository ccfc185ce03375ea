from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.features.correlations import rolling
from raytrain.features.correlations.rolling import Windows, rolling_correlations

PAIRS = np.array(list(combinations(range(4), 2)))


@pytest.fixture
def short_chunks(monkeypatch):
    """Many chunks in few rows."""
    monkeypatch.setattr(rolling, "CHUNK", 64)
    monkeypatch.setattr(rolling, "BATCH", 4)


def by_pandas(values, dates, pair, days, min_rows):
    index = pd.DatetimeIndex(dates)
    left, right = (pd.Series(values[side], index) for side in pair)
    found = left.rolling(f"{days}D", min_periods=min_rows).corr(right).to_numpy()
    full = dates - np.timedelta64(days, "D") >= dates[0]
    return np.where(full, found, np.nan)


def test_equal_to_pandas_with_gaps_in_every_chunk(short_chunks, business_days, gappy):
    dates, values = business_days(400), gappy(4, 400)
    found = rolling_correlations(values, PAIRS, Windows.of_days(dates, (90, 180)), min_rows=20, threads=2)
    for window, days in enumerate((90, 180)):
        for number, pair in enumerate(PAIRS):
            expected = by_pandas(values, dates, pair, days, 20)
            assert np.isfinite(expected).sum() > 100
            np.testing.assert_allclose(found[window, number], expected, atol=1e-6)


@given(st.integers(5, 40), st.floats(-1e4, 1e4), st.floats(1e-6, 1e6), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_equal_to_a_naive_loop_at_any_level_and_scale(length, level, scale, seed):
    rng = np.random.default_rng(seed)
    values = level + scale * (rng.normal(size=(2, 90)) + 0.5 * rng.normal(size=90))
    if abs(level) > 1e4 * scale:  # a spread of less than a hundred-thousandth counts as none
        return
    values[:, rng.random(90) < 0.1] = np.nan
    found = rolling_correlations(values, np.array([[0, 1]]), Windows.of_rows(90, (length,)), min_rows=4)[0, 0]
    for row in range(90):
        inside = values[:, max(0, row - length + 1) : row + 1]
        inside = inside[:, np.isfinite(inside).all(axis=0)]
        if row < length - 1 or inside.shape[1] < 4:
            assert np.isnan(found[row])
        else:
            assert found[row] == pytest.approx(np.corrcoef(inside)[0, 1], abs=1e-5)


def test_the_length_is_counted_in_days_not_rows():
    dates = np.array(["2020-01-01", "2020-01-02", "2020-03-01", "2020-03-02"], "datetime64[us]")
    windows = Windows.of_days(dates, (2, 60))
    assert windows.starts.tolist() == [[0, 0, 2, 2], [0, 0, 1, 2]]
    assert windows.full.tolist() == [[False, False, True, True], [False, False, True, True]]
    assert windows.most_rows.tolist() == [2, 2]


@pytest.mark.parametrize("first", [1, 63, 64, 200, 399])
def test_newer_rows_are_the_same_to_the_bit_when_computed_alone(short_chunks, first, business_days, gappy):
    values, windows = gappy(4, 400), Windows.of_days(business_days(400), (90,))
    whole = rolling_correlations(values, PAIRS, windows, min_rows=20)
    newer = rolling_correlations(values, PAIRS, windows, min_rows=20, first=first)
    np.testing.assert_array_equal(newer, whole[:, :, first:])


@pytest.mark.parametrize("cut", [100, 128, 250])
def test_later_rows_change_no_bit_of_earlier_ones(short_chunks, cut, business_days, gappy):
    dates, values = business_days(400), gappy(4, 400)
    noise = values.copy()
    noise[:, cut:] = np.random.default_rng(1).normal(1e6, 1e6, (4, 400 - cut))
    noise[1, cut:] = np.nan
    whole, other, alone = (
        rolling_correlations(one, PAIRS, Windows.of_days(dates[: one.shape[1]], (90, 180)), min_rows=20)[:, :, :cut]
        for one in (values, noise, values[:, :cut])
    )
    np.testing.assert_array_equal(whole, other)
    np.testing.assert_array_equal(whole, alone)
    assert np.isfinite(whole).any()


@pytest.mark.parametrize("level", [0.0, 0.1, 1e9])
def test_a_column_that_stands_still_in_the_window_has_no_correlation(level):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2, 300))
    values[1, 100:200] = level
    found = rolling_correlations(values, np.array([[0, 1]]), Windows.of_rows(300, (30,)), min_rows=10)[0, 0]
    assert np.isnan(found[129:200]).all()
    assert np.isfinite(found[29:100]).all()


def test_a_pair_may_stand_either_way_round_and_more_than_once(business_days, gappy):
    windows = Windows.of_days(business_days(300), (90,))
    found = rolling_correlations(gappy(4, 300), np.array([[2, 0], [0, 2], [2, 0], [1, 1]]), windows, min_rows=20)[0]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    assert np.nanmin(found[3]) == pytest.approx(1)
