from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitData
from raytrain.engines.linear import Line
from raytrain.engines.net_sharpe import Market
from raytrain.metrics import overlapping_portfolio, sharpe

ALL = np.arange(120)


@pytest.fixture
def data(rows) -> FitData:
    """Two series of 60 dates."""
    made: FitData = rows(dates=60)
    return replace(made, y=0.01 * made.y)


@pytest.mark.parametrize("penalty", [0.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_the_slope_of_the_objective(data: FitData, penalty: float, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    if weighted:
        data = replace(data, weight=rng.uniform(0.5, 3, 120).astype(np.float32))
    market, weights, step = Market.make(data, ALL, horizon=3, cost=0.002), rng.standard_normal(5), 1e-6
    _, gradient = market.objective(weights, penalty)
    up, down = (
        np.array([market.objective(weights + sign * step * unit, penalty)[0] for unit in np.eye(5)]) for sign in (1, -1)
    )
    np.testing.assert_allclose(gradient, (up - down) / (2 * step), rtol=1e-5, atol=1e-8)


def test_the_objective_does_not_know_how_large_a_score_is(data: FitData) -> None:
    market, weights = Market.make(data, ALL, 1, 0.001), np.array([0.3, -1, 0.5, 0, 2])
    assert market.objective(weights, 1.0)[0] == pytest.approx(market.objective(1000 * weights, 1.0)[0])


def test_it_is_the_sharpe_ratio_of_the_portfolio_that_is_judged(data: FitData) -> None:
    market, position = Market.make(data, ALL, 1, 0.001), np.tanh(np.random.default_rng(1).standard_normal(120))
    earned = []
    for rows in (slice(0, 60), slice(60, 120)):
        returns = np.append(0.0, data.y[rows, 0].astype(float))  # the row after a position earns it
        earned.append(overlapping_portfolio(np.append(position[rows], np.nan), returns, 1, cost_bp=10)[1:])
        # The portfolio pays when it has traded, a row later than the position was decided.
        paid = 0.001 * np.abs(np.diff(position[rows], prepend=0.0))
        np.testing.assert_allclose(earned[-1], position[rows] * data.y[rows, 0] - paid, atol=1e-9)
    expected = sharpe(np.mean(earned, axis=0), 1) * np.sqrt(60 / 59)
    assert market.sharpe(position).ratio == pytest.approx(expected, rel=1e-3)


def test_a_position_replaces_the_one_that_ends(data: FitData) -> None:
    market = Market.make(data, ALL, horizon=4, cost=0.0)
    assert (market.replaced[:4] == -1).all()
    assert (market.replaced[60:64] == -1).all()
    assert np.array_equal(market.replaced[4:60], np.arange(56))
    assert np.array_equal(market.replaced[64:], np.arange(60, 116))


def test_costs_are_those_of_the_change(data: FitData) -> None:
    dear, free = (Market.make(data, ALL, 1, cost) for cost in (0.01, 0.0))
    steady, restless = np.ones(120), np.tile([1.0, -1.0], 60)
    assert dear.sharpe(steady).ratio == pytest.approx(free.sharpe(steady).ratio, abs=0.05)
    assert dear.sharpe(restless).ratio < free.sharpe(restless).ratio - 0.5


def test_a_date_counts_by_its_weight_and_not_by_its_series(data: FitData) -> None:
    whole = Market.make(data, ALL, 1, 0.0)
    np.testing.assert_allclose(whole.date_share, 1 / 60)
    partly = Market.make(data, np.arange(90), 1, 0.0)
    np.testing.assert_allclose(partly.date_share, 1 / 60)
    np.testing.assert_allclose(partly.share, np.where(np.isin(partly.date, np.arange(30)), 0.5, 1.0))


def test_a_strong_penalty_stays_with_the_constant_position(data: FitData) -> None:
    market = Market.make(replace(data, y=data.y - 0.005), ALL, 1, 0.0)
    start = market.constant()
    assert start.intercept == -1
    strong, weak = (market.train(start, penalty, 50) for penalty in (1e6, 1e-3))
    np.testing.assert_allclose(market.positions(strong), np.tanh(-1), atol=1e-3)
    assert market.sharpe(market.positions(weak)).ratio > market.sharpe(market.positions(start)).ratio + 0.3


def test_a_trained_score_has_a_mean_square_of_one(data: FitData) -> None:
    market = Market.make(data, ALL, 1, 0.001)
    line = market.train(market.constant(), 0.1, 50)
    assert np.mean(line.score(market.x) ** 2) == pytest.approx(1)


def test_rewards_that_never_vary_have_a_ratio(data: FitData) -> None:
    market = Market.make(replace(data, y=np.full_like(data.y, 0.01)), ALL, 1, 0.0)
    assert np.isfinite(market.sharpe(market.positions(Line(1.0, np.zeros(4)))).ratio)
