"""Each measure against a naive loop, a hand calculation or scikit-learn, and its edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raytrain import metrics
from raytrain.errors import DataError

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_mape_by_hand() -> None:
    assert metrics.mape([100.0, 200.0], [103.0, 190.0]) == pytest.approx((0.03 + 0.05) / 2)


def test_mape_of_negative_prices_divides_by_their_size() -> None:
    assert metrics.mape([-37.0], [-40.7]) == pytest.approx(0.1)


def test_mape_refuses_a_zero_actual_and_counts_it() -> None:
    with pytest.raises(DataError, match="1 zeros in 3 rows"):
        metrics.mape([1.0, 0.0, 2.0], [1.0, 1.0, 2.0])


def test_errors_are_computed_in_float64() -> None:
    actual, predicted = np.array([1e4], dtype=np.float32), np.array([1e-4], dtype=np.float32)
    exact = float(actual[0]) - float(predicted[0])
    assert exact != float((actual - predicted)[0])
    assert metrics.rmse(actual, predicted) == metrics.mae(actual, predicted) == exact


@pytest.mark.parametrize("measure", [metrics.mape, metrics.rmse, metrics.mae, metrics.directional_accuracy])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_is_refused_on_either_side(measure: object, bad: float) -> None:
    with pytest.raises(DataError, match="`actual` must be finite, got 1"):
        measure([1.0, bad], [1.0, 1.0])  # type: ignore[operator]
    with pytest.raises(DataError, match="`predicted` must be finite, got 1"):
        measure([1.0, 1.0], [1.0, bad])  # type: ignore[operator]


def test_arrays_must_have_one_length_and_a_row() -> None:
    with pytest.raises(DataError, match="one length"):
        metrics.rmse([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="at least 1 row"):
        metrics.rmse([], [])


def test_pinball_loss_equals_a_loop(rng: np.random.Generator) -> None:
    actual, predicted = rng.normal(size=50), rng.normal(size=(50, 3))
    total = 0.0
    for y, row in zip(actual, predicted, strict=True):
        for level, q in zip(LEVELS, row, strict=True):
            total += level * (y - q) if y >= q else (1 - level) * (q - y)
    assert metrics.pinball_loss(actual, predicted, LEVELS) == pytest.approx(total / 150)
    assert metrics.pinball_losses(actual, predicted, LEVELS).mean() == pytest.approx(total / 150)


def test_pinball_loss_is_least_at_the_quantile(rng: np.random.Generator) -> None:
    actual = rng.normal(size=2_000)
    candidates = np.quantile(actual, [0.7, 0.8, 0.9, 0.95])
    losses = [metrics.pinball_loss(actual, np.full((2_000, 1), q), [0.9]) for q in candidates]
    assert np.argmin(losses) == 2


@pytest.mark.parametrize(("shape", "levels"), [((4, 2), LEVELS), ((4,), (0.5,)), ((4, 1), (1.0,)), ((4, 1), (0.0,))])
def test_pinball_loss_refuses_wrong_shapes_and_levels(shape: tuple[int, ...], levels: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="quantile"):
        metrics.pinball_loss(np.zeros(4), np.zeros(shape), levels)


def test_coverage_includes_both_ends() -> None:
    assert metrics.coverage([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 4.0, 0.0], [2.0, 2.0, 5.0, 3.9]) == 0.5


def test_directional_accuracy_leaves_out_forecasts_of_zero() -> None:
    share, num_calls = metrics.directional_accuracy([0.1, -0.2, 0.3, 0.0, 0.5], [0.2, 0.1, 0.0, 0.1, 1.0])
    assert (share, num_calls) == (0.5, 4)  # right, wrong, no call, wrong (nothing moved), right


def test_directional_accuracy_without_a_call_is_nan() -> None:
    share, num_calls = metrics.directional_accuracy([0.1, -0.2], [0.0, 0.0])
    assert math.isnan(share) and num_calls == 0


def test_sharpe_by_hand() -> None:
    # mean 0.01, deviations -0.02 0 0.02, sample variance 0.0008 / 2
    assert metrics.sharpe([-0.01, 0.01, 0.03], 252) == pytest.approx(0.01 / 0.02 * math.sqrt(252))


@pytest.mark.parametrize("returns", [[0.01], [0.1] * 3, [0.0] * 3])
def test_sharpe_of_returns_that_do_not_vary_is_nan(returns: list[float]) -> None:
    assert math.isnan(metrics.sharpe(returns, 252))


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


def test_brier_by_hand() -> None:
    assert metrics.brier([1, 0, 1], [1.0, 0.5, 0.2]) == pytest.approx((0 + 0.25 + 0.64) / 3)


def test_log_loss_of_a_certain_error_is_large_but_finite() -> None:
    assert metrics.log_loss([1], [0.0]) == pytest.approx(36.04, abs=0.01)
    assert metrics.log_loss([1, 0], [1.0, 0.0]) == pytest.approx(0.0, abs=1e-12)


def test_roc_auc_equals_a_loop_over_pairs(rng: np.random.Generator) -> None:
    actual, probability = rng.integers(0, 2, 60), rng.integers(0, 6, 60) / 5
    pairs = [(p, q) for p in probability[actual == 1] for q in probability[actual == 0]]
    expected = sum(1.0 if p > q else 0.5 if p == q else 0.0 for p, q in pairs) / len(pairs)
    assert metrics.roc_auc(actual, probability) == pytest.approx(expected)


def test_roc_auc_of_one_class_is_nan() -> None:
    assert math.isnan(metrics.roc_auc([1, 1], [0.2, 0.9]))


@pytest.mark.parametrize("measure", [metrics.brier, metrics.log_loss, metrics.roc_auc])
def test_labels_and_probabilities_are_checked(measure: object) -> None:
    with pytest.raises(DataError, match="a label must be 0 or 1, got 2"):
        measure([0, 2], [0.1, 0.2])  # type: ignore[operator]
    with pytest.raises(DataError, match="a probability must lie in 0 to 1"):
        measure([0, 1], [0.1, 1.2])  # type: ignore[operator]


@pytest.mark.native
def test_measures_equal_those_of_scikit_learn(rng: np.random.Generator) -> None:
    from sklearn import metrics as oracle

    actual, predicted = rng.lognormal(size=200), rng.lognormal(size=200)
    assert metrics.mape(actual, predicted) == pytest.approx(oracle.mean_absolute_percentage_error(actual, predicted))
    assert metrics.rmse(actual, predicted) == pytest.approx(oracle.root_mean_squared_error(actual, predicted))
    assert metrics.mae(actual, predicted) == pytest.approx(oracle.mean_absolute_error(actual, predicted))
    for level in LEVELS:
        expected = oracle.mean_pinball_loss(actual, predicted, alpha=level)
        assert metrics.pinball_loss(actual, predicted[:, None], [level]) == pytest.approx(expected)


@pytest.mark.native
def test_measures_of_probabilities_equal_those_of_scikit_learn(rng: np.random.Generator) -> None:
    from sklearn import metrics as oracle

    actual, probability = rng.integers(0, 2, 200), rng.integers(0, 11, 200) / 10
    assert metrics.brier(actual, probability) == pytest.approx(oracle.brier_score_loss(actual, probability))
    assert metrics.log_loss(actual, probability) == pytest.approx(oracle.log_loss(actual, probability))
    assert metrics.roc_auc(actual, probability) == pytest.approx(oracle.roc_auc_score(actual, probability))
