import math

import numpy as np
import pytest

from raytrain.evaluation.scoring.significance import skill_interval


@pytest.fixture
def losses() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """500 dates of two series; the candidate loses 10 % less on average."""
    rng = np.random.default_rng(5)
    naive = rng.exponential(size=1_000)
    return naive * rng.uniform(0.7, 1.1, 1_000), naive, np.repeat(np.arange(500), 2)


def test_the_interval_holds_the_skill_and_is_above_zero_when_deserved(losses: tuple[np.ndarray, ...]) -> None:
    loss, naive, dates = losses
    low, high = skill_interval(loss, naive, dates, horizon=5)
    assert 0 < low < 1 - loss.sum() / naive.sum() < high


def test_a_copy_of_naive_has_no_skill(losses: tuple[np.ndarray, ...]) -> None:
    _, naive, dates = losses
    assert skill_interval(naive, naive, dates, horizon=5) == (0.0, 0.0)


def test_the_same_seed_gives_the_same_interval_in_any_order_of_rows(losses: tuple[np.ndarray, ...]) -> None:
    loss, naive, dates = losses
    order = np.random.default_rng(1).permutation(len(loss))
    expected = skill_interval(loss, naive, dates, 5, seed=1)
    assert skill_interval(loss[order], naive[order], dates[order], 5, seed=1) == pytest.approx(expected)
    assert skill_interval(loss, naive, dates, 5, seed=2) != expected


def test_more_confidence_is_wider(losses: tuple[np.ndarray, ...]) -> None:
    low, high = skill_interval(*losses, 5, level=0.8)
    wider_low, wider_high = skill_interval(*losses, 5, level=0.95)
    assert wider_low < low < high < wider_high


def test_series_that_move_together_are_not_counted_as_independent(losses: tuple[np.ndarray, ...]) -> None:
    loss, naive, dates = losses
    single = skill_interval(loss[::2], naive[::2], dates[::2], 5)
    copies = skill_interval(np.repeat(loss[::2], 9), np.repeat(naive[::2], 9), np.repeat(dates[::2], 9), 5)
    assert copies == pytest.approx(single)


def test_every_block_is_as_long_as_the_forecasts_overlap() -> None:
    # One loss of 1 every 20 dates: a block of 20 dates always holds exactly one, so nothing varies.
    loss = np.zeros(400)
    loss[::20] = 1.0
    low, high = skill_interval(loss, np.ones(400), np.arange(400), horizon=20)
    assert low == high == pytest.approx(0.95)
    low, high = skill_interval(loss, np.ones(400), np.arange(400), horizon=1)
    assert high - low > 0.005


def test_no_skill_seldom_looks_like_skill() -> None:
    """Two equally good forecasters, 100 dates, 20 rows ahead: plain percentiles find a better one in 18 % of cases."""
    rng, seemed_better, num_cases = np.random.default_rng(0), 0, 300
    window = np.ones(20) / np.sqrt(20)
    for case in range(num_cases):
        ours, naive = (np.abs(np.convolve(rng.normal(size=119), window, "valid")) for _ in range(2))
        low, _ = skill_interval(ours, naive, np.arange(100), horizon=20, seed=case)
        seemed_better += low > 0
    assert 0 < seemed_better < 0.12 * num_cases


@pytest.mark.parametrize(
    ("loss", "naive", "num_dates", "horizon"),
    [
        (1.0, 1.0, 59, 20),
        (math.nan, 1.0, 100, 5),
        (1.0, math.nan, 100, 5),
        (1.0, math.inf, 100, 5),
        (1.0, 0.0, 100, 5),
        (1.0, 1.0, 0, 5),
    ],
)
def test_what_cannot_be_judged_is_nan(loss: float, naive: float, num_dates: int, horizon: int) -> None:
    low, high = skill_interval(np.full(num_dates, loss), np.full(num_dates, naive), np.arange(num_dates), horizon)
    assert math.isnan(low) and math.isnan(high)


def test_three_blocks_are_enough_to_be_judged() -> None:
    naive = np.random.default_rng(0).exponential(size=60)
    low, high = skill_interval(naive / 2, naive, np.arange(60), 20)
    assert low == high == pytest.approx(0.5)
