"""The range in which the mean of new dates lies: right under no change, and narrow enough to find one."""

import math

import numpy as np
import pytest

from raytrain.evaluation.live.drift import usual_range


def losses(num: int, horizon: int, rng: np.random.Generator) -> np.ndarray:
    """Absolute moves over overlapping horizons, whose size comes in waves."""
    wave = np.exp(0.3 * np.sin(np.arange(num + horizon - 1) / 40 + rng.uniform(0, 6)))
    return np.abs(np.convolve(wave * rng.normal(size=num + horizon - 1), np.ones(horizon), "valid"))


@pytest.mark.parametrize(("horizon", "num_dates"), [(1, 10), (5, 20), (21, 20)])
def test_few_unchanged_stretches_lie_beyond_the_range(horizon: int, num_dates: int) -> None:
    rng, beyond = np.random.default_rng(0), 0
    for seed in range(150):
        values = losses(800 + num_dates, horizon, rng)
        _, high = usual_range(values[:800], num_dates, horizon, 0.05, seed=seed)
        beyond += values[800:].mean() > high
    assert beyond / 150 < 0.12


@pytest.mark.parametrize(("num_dates", "factor"), [(60, 2), (20, 3)])
def test_a_loss_that_has_grown_is_found(num_dates: int, factor: float) -> None:
    rng, found = np.random.default_rng(1), 0
    for seed in range(40):
        values = losses(800 + num_dates, 5, rng)
        found += factor * values[800:].mean() > usual_range(values[:800], num_dates, 5, 0.01, seed=seed)[1]
    assert found / 40 > 0.5


def test_the_range_holds_the_mean_and_narrows_with_the_stretch() -> None:
    values = losses(800, 1, np.random.default_rng(2))
    wide, narrow = usual_range(values, 5, 1, 0.05), usual_range(values, 100, 1, 0.05)
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]
    further = usual_range(values, 5, 1, 0.01)
    assert further[0] <= wide[0] and further[1] >= wide[1]
    assert usual_range(values, 5, 1, 0.05, seed=7) == usual_range(values, 5, 1, 0.05, seed=7) != wide


def test_the_range_moves_and_grows_with_the_values() -> None:
    values = losses(300, 5, np.random.default_rng(3))
    low, high = usual_range(values, 20, 5, 0.05)
    assert usual_range(3 * values + 1, 20, 5, 0.05) == pytest.approx((3 * low + 1, 3 * high + 1))


@pytest.mark.parametrize(("num", "num_dates", "horizon"), [(59, 20, 1), (62, 5, 21), (0, 5, 1)])
def test_a_short_backtest_promises_nothing(num: int, num_dates: int, horizon: int) -> None:
    assert all(map(math.isnan, usual_range(np.ones(num), num_dates, horizon, 0.05)))
