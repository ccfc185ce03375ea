import math

import numpy as np
import pytest
from scipy.stats import t as student

from raytrain.evaluation.gates.diebold_mariano import DieboldMariano, diebold_mariano


def by_the_book(differences: np.ndarray, horizon: int) -> float:
    """Harvey, Leybourne & Newbold (1997), equations 4 to 9, as a loop."""
    n, mean = len(differences), sum(differences) / len(differences)
    covariance = []
    for lag in range(horizon):
        products = [(differences[i] - mean) * (differences[i - lag] - mean) for i in range(lag, n)]
        covariance.append(sum(products) / n)
    variance = (covariance[0] + 2 * sum(covariance[1:])) / n
    return mean / math.sqrt(variance) * math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)


def test_a_hand_calculation() -> None:
    """d = 1 2 3 4 5: mean 3, variance 2 / 5, correction sqrt(4 / 5): 3 / sqrt(0.4) * sqrt(0.8) = 3 sqrt(2)."""
    found = diebold_mariano(np.zeros(5), [1, 2, 3, 4, 5], range(5), 1)
    assert found.statistic == pytest.approx(3 * math.sqrt(2))
    assert found.p_value == pytest.approx(student.sf(3 * math.sqrt(2), 4))
    assert found.num_dates == 5


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_the_statistic_equals_a_loop(horizon: int) -> None:
    rng = np.random.default_rng(horizon)
    loss, other = rng.exponential(size=(2, 80))
    found = diebold_mariano(loss, other, np.arange(80), horizon)
    assert found.statistic == pytest.approx(by_the_book(other - loss, horizon))
    assert found.p_value == pytest.approx(student.sf(found.statistic, math.ceil(80 / horizon) - 1))


def test_changing_sides_changes_the_sign() -> None:
    loss, other = np.random.default_rng(0).exponential(size=(2, 60))
    ours, theirs = (diebold_mariano(*pair, range(60), 3) for pair in ((loss, other), (other, loss)))
    assert ours.statistic == pytest.approx(-theirs.statistic)
    assert ours.p_value == pytest.approx(1 - theirs.p_value)


def test_series_that_move_together_are_not_counted_as_independent() -> None:
    loss, other = np.random.default_rng(1).exponential(size=(2, 60))
    day = np.arange(60)
    single = diebold_mariano(loss, other, day, 5)
    copies = diebold_mariano(np.repeat(loss, 9), np.repeat(other, 9), np.repeat(day, 9), 5)
    assert copies.statistic == pytest.approx(single.statistic)
    order = np.random.default_rng(2).permutation(60)
    assert diebold_mariano(loss[order], other[order], day[order], 5).statistic == pytest.approx(single.statistic)


def test_a_sum_of_covariances_below_zero_is_weighted() -> None:
    """Differences that swing have a variance by truncation that is below 0; Bartlett weights keep it above."""
    other = 1.0 + np.tile([1.0, -1.0], 20) + np.linspace(0, 0.1, 40)
    found = diebold_mariano(np.zeros(40), other, range(40), 2)
    assert math.isfinite(found.statistic) and found.statistic > 0


@pytest.mark.parametrize(
    ("gap", "statistic", "p_value"), [(0.0, 0.0, 0.5), (0.1, math.inf, 0.0), (-0.1, -math.inf, 1.0)]
)
def test_differences_that_do_not_vary(gap: float, statistic: float, p_value: float) -> None:
    found = diebold_mariano(np.full(30, 1.0), np.full(30, 1.0 + gap), range(30), 5)
    assert (found.statistic, found.p_value) == (statistic, p_value)


@pytest.mark.parametrize(("num", "horizon", "loss"), [(14, 5, 1.0), (0, 1, 1.0), (1, 1, 1.0), (50, 5, math.nan)])
def test_what_cannot_be_judged_is_nan(num: int, horizon: int, loss: float) -> None:
    found = diebold_mariano(np.full(num, loss), np.arange(num), range(num), horizon)
    assert math.isnan(found.statistic) and math.isnan(found.p_value) and math.isnan(found.best_of(3))


def test_the_best_of_many_is_often_good() -> None:
    one = DieboldMariano(statistic=2.0, p_value=0.02, num_dates=100)
    assert one.best_of(1) == pytest.approx(0.02)
    assert one.best_of(200) == pytest.approx(1 - 0.98**200)
    tiny = DieboldMariano(statistic=9.0, p_value=1e-20, num_dates=100)
    assert tiny.best_of(200) == pytest.approx(2e-18)
    assert DieboldMariano(statistic=-math.inf, p_value=1.0, num_dates=100).best_of(3) == pytest.approx(1.0)


def test_equal_forecasters_seldom_look_different() -> None:
    """100 dates, 20 rows ahead: T - 1 degrees of freedom find a difference in 10 % of cases, not in 5 %."""
    rng, window, num_cases = np.random.default_rng(0), np.ones(20) / math.sqrt(20), 600
    p_values, with_all_dates = [], []
    for _ in range(num_cases):
        ours, theirs = (np.abs(np.convolve(rng.normal(size=119), window, "valid")) for _ in range(2))
        found = diebold_mariano(ours, theirs, np.arange(100), 20)
        p_values.append(found.p_value)
        with_all_dates.append(student.sf(found.statistic, 99))
    seemed, seemed_with_all = (np.mean(np.array(p) < 0.05) for p in (p_values, with_all_dates))
    assert 0.01 < seemed < 0.085 < seemed_with_all
