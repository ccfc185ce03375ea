"""Strategies against a loop, empyrical or statsmodels, and their edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raytrain import metrics
from raytrain.errors import DataError

RETURNS = arrays(float, 40, elements=st.floats(-0.2, 0.2))


def test_sharpe_by_hand() -> None:
    # mean 0.01, deviations -0.02 0 0.02, sample variance 0.0008 / 2
    assert metrics.sharpe([-0.01, 0.01, 0.03], 252) == pytest.approx(0.01 / 0.02 * math.sqrt(252))


@pytest.mark.parametrize("returns", [[0.01], [0.1] * 3, [0.0] * 3])
def test_sharpe_of_returns_that_do_not_vary_is_nan(returns: list[float]) -> None:
    assert math.isnan(metrics.sharpe(returns, 252))


def test_sharpe_and_drawdown_equal_those_of_empyrical(rng: np.random.Generator) -> None:
    import empyrical

    returns = rng.standard_t(4, size=500) * 0.01
    assert metrics.sharpe(returns, 252) == pytest.approx(empyrical.sharpe_ratio(returns, annualization=252))
    assert metrics.max_drawdown(returns) == pytest.approx(-empyrical.max_drawdown(returns))


@given(returns=RETURNS, factor=st.floats(0.1, 10))
def test_the_sharpe_ratio_does_not_know_the_size_and_turns_with_the_side(returns: np.ndarray, factor: float) -> None:
    once = metrics.sharpe(returns, 252)
    if math.isnan(once) or returns.std() < 1e-6:
        return
    assert metrics.sharpe(factor * returns, 252) == pytest.approx(once, abs=1e-6)
    assert metrics.sharpe(-returns, 252) == pytest.approx(-once, abs=1e-6)
    error = metrics.sharpe_error(returns, 252, 3)
    assert metrics.sharpe_error(factor * returns, 252, 3) == pytest.approx(error, rel=1e-6)


def test_the_error_of_a_sharpe_ratio_without_dependence_is_mertens(rng: np.random.Generator) -> None:
    """Mertens (2002): (1 - skewness s + (kurtosis - 1) / 4 s**2) / n, here with moments of the sample."""
    returns = rng.gamma(2.0, 0.01, 300) - 0.015
    standard = (returns - returns.mean()) / returns.std()
    ratio = returns.mean() / returns.std()
    skewness, kurtosis = (standard**3).mean(), (standard**4).mean()
    expected = math.sqrt((1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2) / 300 * 252)
    assert metrics.sharpe_error(returns, 252, 0) == pytest.approx(expected)


def test_the_error_of_a_sharpe_ratio_is_its_spread_over_samples() -> None:
    """Returns that depend on their neighbours: with lags the error is right, without them far too small."""
    rng = np.random.default_rng(0)
    found, honest, naive = [], [], []
    for _ in range(400):
        steps = rng.normal(0, 0.01, 804)
        returns = 0.0005 + np.convolve(steps, np.ones(5) / 5, "valid")
        found.append(metrics.sharpe(returns, 252))
        honest.append(metrics.sharpe_error(returns, 252, 12))
        naive.append(metrics.sharpe_error(returns, 252, 0))
    assert np.mean(honest) == pytest.approx(np.std(found), rel=0.15)
    assert np.mean(naive) < 0.6 * np.std(found)


@pytest.mark.parametrize("lags", [0, 1, 7])
def test_the_error_of_a_mean_equals_that_of_statsmodels(lags: int, rng: np.random.Generator) -> None:
    from statsmodels.regression.linear_model import OLS

    values = np.convolve(rng.normal(size=210), np.ones(5), "valid")
    options = {"maxlags": lags, "use_correction": False}
    fitted = OLS(values, np.ones(len(values))).fit(cov_type="HAC", cov_kwds=options)
    assert metrics.mean_error(values, lags) == pytest.approx(fitted.bse[0])


def test_the_long_run_covariance_behind_the_sharpe_error_equals_that_of_statsmodels(rng: np.random.Generator) -> None:
    from statsmodels.stats.sandwich_covariance import S_hac_simple

    returns = np.convolve(rng.normal(0.001, 0.01, 310), np.ones(3), "valid")
    mean, square = returns.mean(), (returns**2).mean()
    centred = np.stack([returns - mean, returns**2 - square], axis=1)
    covariance = S_hac_simple(centred, nlags=6) / len(returns)
    slope = np.array([square, -mean / 2]) / (square - mean**2) ** 1.5
    expected = math.sqrt(slope @ covariance @ slope / len(returns) * 252)
    assert metrics.sharpe_error(returns, 252, 6) == pytest.approx(expected)


@pytest.mark.parametrize(("lags", "said"), [(-1, "got -1"), (3, "0 to 2 for 3 periods, got 3")])
def test_lags_must_fit_the_sample(lags: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        metrics.mean_error([1.0, 2.0, 4.0], lags)


def test_lags_grow_with_the_sample_and_reach_over_the_overlap() -> None:
    assert [metrics.dependence_lags(num) for num in (1, 2, 100, 1000)] == [0, 1, 4, 6]
    assert metrics.dependence_lags(1000, horizon=21) == 20
    assert metrics.dependence_lags(10, horizon=21) == 9


def portfolio_loop(positions: np.ndarray, returns: np.ndarray, horizon: int, cost_bp: float) -> list[float]:
    earned, held_before = [], 0.0
    for t in range(len(positions)):
        book = [p for p in positions[max(0, t - horizon) : t] if not math.isnan(p)]
        held = sum(book) / len(book) if book else 0.0
        cost = abs(held - held_before) * cost_bp / 1e4
        gained = held * returns[t] if book else 0.0
        earned.append(gained - cost if book or cost else math.nan)
        held_before = held
    return earned


@given(
    positions=arrays(float, 30, elements=st.sampled_from([-1.0, 0.0, 1.0, math.nan])),
    horizon=st.integers(1, 40),
    cost_bp=st.sampled_from([0.0, 5.0]),
)
def test_overlapping_portfolio_equals_a_loop(positions: np.ndarray, horizon: int, cost_bp: float) -> None:
    returns = np.random.default_rng(1).normal(size=30)
    returns[0] = math.nan
    found = metrics.overlapping_portfolio(positions, returns, horizon, cost_bp)
    np.testing.assert_allclose(found, portfolio_loop(positions, returns, horizon, cost_bp), atol=1e-12)


def test_a_position_earns_exactly_the_rows_after_it() -> None:
    positions = np.full(8, math.nan)
    positions[2] = -1.0
    returns = np.arange(8.0)
    found = metrics.overlapping_portfolio(positions, returns, 3)
    np.testing.assert_array_equal(found, [math.nan] * 3 + [-3.0, -4.0, -5.0] + [math.nan] * 2)


def test_costs_are_paid_on_the_way_in_and_out() -> None:
    positions = [1.0, math.nan, math.nan, math.nan]
    found = metrics.overlapping_portfolio(positions, np.zeros(4), 1, cost_bp=10)
    np.testing.assert_array_equal(found, [math.nan, -0.001, -0.001, math.nan])


def test_costs_may_differ_from_row_to_row() -> None:
    positions = [1.0, math.nan, math.nan, math.nan]
    found = metrics.overlapping_portfolio(positions, np.zeros(4), 1, cost_bp=[math.nan, 10, 30, math.nan])
    np.testing.assert_array_equal(found, [math.nan, -0.001, -0.003, math.nan])


def test_overlap_does_not_raise_the_sharpe_of_noise(rng: np.random.Generator) -> None:
    # The same position every row: the portfolio is the market, whatever the horizon.
    returns = rng.normal(0.001, 0.01, 500)
    for horizon in (1, 5, 60):
        found = metrics.overlapping_portfolio(np.ones(500), returns, horizon)
        np.testing.assert_allclose(found[1:], returns[1:])


@pytest.mark.parametrize(
    ("positions", "returns", "horizon"),
    [([1.0, 1.0], [0.1, 0.1], 0), ([1.0], [0.1, 0.1], 1), ([1.0, 1.0], [0.1, math.nan], 1), ([math.inf, 1], [0, 0], 1)],
)
def test_overlapping_portfolio_refuses(positions: list[float], returns: list[float], horizon: int) -> None:
    with pytest.raises(DataError):
        metrics.overlapping_portfolio(positions, returns, horizon)


def test_positions_grow_with_forecast_over_volatility_up_to_the_whole_capital() -> None:
    forecast, volatility = [0.01, -0.01, 0.3, 0.01, 0.01], [0.1, 0.1, 0.1, 0.0, math.nan]
    assert metrics.sized_positions(forecast, volatility, 0.25).tolist() == pytest.approx([0.4, -0.4, 1.0, 0.0, 0.0])


@given(forecast=RETURNS, factor=st.floats(0.1, 10))
def test_positions_do_not_know_the_unit(forecast: np.ndarray, factor: float) -> None:
    volatility = np.linspace(0.01, 0.2, 40)
    found = metrics.sized_positions(factor * forecast, factor * volatility, 0.3)
    np.testing.assert_allclose(found, metrics.sized_positions(forecast, volatility, 0.3), atol=1e-12)
    assert (np.abs(found) <= 1).all()


def drawdown_loop(returns: np.ndarray) -> float:
    capital, high, worst = 1.0, 1.0, 0.0
    for one in returns:
        capital *= 1 + one
        high = max(high, capital)
        worst = max(worst, 1 - capital / high)
    return worst


@given(returns=RETURNS)
def test_drawdown_equals_a_loop(returns: np.ndarray) -> None:
    assert metrics.max_drawdown(returns) == pytest.approx(drawdown_loop(returns), abs=1e-12)


def test_a_fall_from_the_start_counts_and_ruin_is_final() -> None:
    assert metrics.max_drawdown([-0.1, 0.05]) == pytest.approx(0.1)
    assert metrics.max_drawdown([0.1, 0.2]) == 0.0
    assert metrics.max_drawdown([0.5, -1.3, 4.0]) == 1.0
