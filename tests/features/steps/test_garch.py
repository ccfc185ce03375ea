"""GARCH volatility: the model it claims to be, without a look ahead, and cheap."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raytrain.data import Frame
from raytrain.features.steps import garch
from raytrain.features.steps.garch import forecast_volatility

OMEGA, ALPHA, BETA = 2e-6, 0.09, 0.89


def simulate(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns, and the true deviation of each row's next return."""
    rng = np.random.default_rng(seed)
    variance = OMEGA / (1 - ALPHA - BETA)
    returns, ahead = np.empty(rows), np.empty(rows)
    for row in range(rows):
        returns[row] = np.sqrt(variance) * rng.standard_normal()
        variance = OMEGA + ALPHA * returns[row] ** 2 + BETA * variance
        ahead[row] = np.sqrt(variance)
    return returns, ahead


def test_finds_the_volatility_that_made_the_returns() -> None:
    returns, truth = simulate(3000, 1)
    found = forecast_volatility(returns, np.arange(3000) // 250, 500)
    assert np.isnan(found[:499]).all()
    late = slice(1500, None)
    assert np.corrcoef(np.log(found[late]), np.log(truth[late]))[0, 1] > 0.97
    assert found[late].mean() == pytest.approx(truth[late].mean(), rel=0.1)


def test_filters_forward_between_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """With given parameters, the values are those of the recursion."""
    monkeypatch.setattr(garch, "_estimate", lambda returns: garch._Parameters(OMEGA, ALPHA, BETA))
    returns, _ = simulate(300, 2)
    variance, expected = float(np.mean(returns[:100] ** 2)), []
    for change in returns:
        variance = OMEGA + ALPHA * change**2 + BETA * variance
        expected.append(np.sqrt(variance))
    found = forecast_volatility(returns, np.arange(300) // 50, 100)
    np.testing.assert_allclose(found[99:], expected[99:], rtol=1e-12)


def test_estimates_end_before_the_block_they_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def estimate(returns: np.ndarray) -> Any:
        lengths.append(len(returns))
        return garch._Parameters(OMEGA, ALPHA, BETA)

    monkeypatch.setattr(garch, "_estimate", estimate)
    forecast_volatility(simulate(300, 2)[0], np.r_[np.repeat(np.arange(5), 60)], 100)
    assert lengths == [100, 120, 180, 240]


def test_an_estimate_that_fails_leaves_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = simulate(400, 3)[0]
    real, calls = garch._estimate, []

    def sometimes(returns: np.ndarray) -> Any:
        calls.append(len(returns))
        return real(returns) if len(calls) == 2 else None

    monkeypatch.setattr(garch, "_estimate", sometimes)
    found = forecast_volatility(returns, np.arange(400) // 100, 150)
    assert calls == [150, 200, 300]
    assert np.isnan(found[:200]).all()
    assert np.isfinite(found[200:]).all()


@pytest.mark.parametrize("returns", [np.zeros(300), np.full(300, np.nan), np.ones(99), np.array([])])
def test_what_cannot_be_estimated_is_unknown(returns: np.ndarray) -> None:
    assert np.isnan(forecast_volatility(returns, np.arange(len(returns)) // 100, 100)).all()


def test_unknown_returns_are_left_out() -> None:
    returns = simulate(600, 4)[0]
    gaps = np.arange(600) % 7 == 3
    found = forecast_volatility(np.where(gaps, np.nan, returns), np.arange(600) // 100, 100)
    compact = forecast_volatility(returns[~gaps], np.arange(600)[~gaps] // 100, 100)
    assert np.isnan(found[gaps]).all()
    np.testing.assert_array_equal(found[~gaps], compact)


def test_the_number_of_estimates_is_that_of_the_calendar(
    one_series: Callable[..., Frame], compute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2020 to 2023 with 500 rows before the first: one estimate when they are known, one each on 1 January."""
    real, calls = garch._estimate, []
    monkeypatch.setattr(garch, "_estimate", lambda returns: calls.append(len(returns)) or real(returns))
    close = 100 * np.exp(np.cumsum(simulate(4 * 365, 5)[0]))
    found = compute(one_series(close=close), step="garch")["close_garch"]
    assert calls == [500, 730, 1095]
    assert np.isnan(found[:500]).all()
    assert np.isfinite(found[500:]).all()


def test_long_series_cost_no_more_than_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate sees the newest 5,000 returns at most."""
    returns = simulate(6000, 6)[0]
    assert garch._estimate(returns) == garch._estimate(returns[1000:])
    assert garch._estimate(returns) != garch._estimate(returns[1001:])
