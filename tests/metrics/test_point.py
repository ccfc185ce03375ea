"""Point measures against a hand calculation, scikit-learn or utilsforecast, and their edges."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raytrain import metrics
from raytrain.errors import DataError

PRICES = arrays(float, 12, elements=st.floats(0.5, 1e4))


def test_mape_by_hand() -> None:
    assert metrics.mape([100.0, 200.0], [103.0, 190.0]) == pytest.approx((0.03 + 0.05) / 2)


def test_mape_of_negative_prices_divides_by_their_size() -> None:
    assert metrics.mape([-37.0], [-40.7]) == pytest.approx(0.1)


def test_mape_refuses_a_zero_actual_and_counts_it() -> None:
    with pytest.raises(DataError, match="1 zeros in 3 rows"):
        metrics.mape([1.0, 0.0, 2.0], [1.0, 1.0, 2.0])


def test_mape_is_not_the_one_of_a_library_that_drops_zeros() -> None:
    """utilsforecast leaves the row out without a word, which is why it is no oracle here."""
    from utilsforecast.losses import mape

    table = pd.DataFrame({"unique_id": "a", "ds": [1, 2], "y": [0.0, 100.0], "model": [5.0, 110.0]})
    assert mape(table, models=["model"])["model"][0] == pytest.approx(0.1)
    with pytest.raises(DataError, match="1 zeros in 2 rows"):
        metrics.mape(table["y"], table["model"])


def test_smape_by_hand_and_of_zeros() -> None:
    assert metrics.smape([100.0, 50.0], [300.0, 50.0]) == pytest.approx((2 * 200 / 400 + 0) / 2)
    assert metrics.smape([0.0, 0.0], [0.0, 3.0]) == pytest.approx((0 + 2) / 2)


def test_smape_is_twice_that_of_utilsforecast(rng: np.random.Generator) -> None:
    from utilsforecast.losses import smape

    actual, predicted = rng.normal(size=80), rng.normal(size=80)
    table = pd.DataFrame({"unique_id": "a", "ds": range(80), "y": actual, "model": predicted})
    assert metrics.smape(actual, predicted) == pytest.approx(2 * smape(table, models=["model"])["model"][0])


@given(actual=PRICES, predicted=PRICES, factor=st.floats(1e-3, 1e3))
def test_relative_errors_do_not_know_the_unit_and_the_others_scale_with_it(
    actual: np.ndarray, predicted: np.ndarray, factor: float
) -> None:
    for relative in (metrics.mape, metrics.smape):
        scaled = relative(factor * actual, factor * predicted)
        assert scaled == pytest.approx(relative(actual, predicted), rel=1e-9, abs=1e-12)
    for absolute in (metrics.rmse, metrics.mae):
        scaled = absolute(factor * actual, factor * predicted)
        assert scaled == pytest.approx(factor * absolute(actual, predicted), rel=1e-9, abs=1e-9 * factor)


@given(actual=PRICES, predicted=PRICES)
def test_bounds_and_order_of_point_errors(actual: np.ndarray, predicted: np.ndarray) -> None:
    assert 0 <= metrics.smape(actual, predicted) <= 2
    assert metrics.smape(actual, predicted) == pytest.approx(metrics.smape(predicted, actual))
    assert metrics.mae(actual, predicted) <= metrics.rmse(actual, predicted) * (1 + 1e-12)
    assert metrics.mape(actual, actual) == metrics.smape(actual, actual) == metrics.mae(actual, actual) == 0


def test_errors_are_computed_in_float64() -> None:
    actual, predicted = np.array([1e4], dtype=np.float32), np.array([1e-4], dtype=np.float32)
    exact = float(actual[0]) - float(predicted[0])
    assert exact != float((actual - predicted)[0])
    assert metrics.rmse(actual, predicted) == metrics.mae(actual, predicted) == exact


@pytest.mark.parametrize(
    "measure", [metrics.mape, metrics.smape, metrics.rmse, metrics.mae, metrics.directional_accuracy]
)
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


def test_directional_accuracy_leaves_out_forecasts_of_zero() -> None:
    share, num_calls = metrics.directional_accuracy([0.1, -0.2, 0.3, 0.0, 0.5], [0.2, 0.1, 0.0, 0.1, 1.0])
    assert (share, num_calls) == (0.5, 4)  # right, wrong, no call, wrong (nothing moved), right


def test_directional_accuracy_without_a_call_is_nan() -> None:
    share, num_calls = metrics.directional_accuracy([0.1, -0.2], [0.0, 0.0])
    assert math.isnan(share) and num_calls == 0


@pytest.mark.native
def test_point_errors_equal_those_of_scikit_learn(rng: np.random.Generator) -> None:
    from sklearn import metrics as oracle

    actual, predicted = rng.lognormal(size=200), rng.lognormal(size=200)
    assert metrics.mape(actual, predicted) == pytest.approx(oracle.mean_absolute_percentage_error(actual, predicted))
    assert metrics.rmse(actual, predicted) == pytest.approx(oracle.root_mean_squared_error(actual, predicted))
    assert metrics.mae(actual, predicted) == pytest.approx(oracle.mean_absolute_error(actual, predicted))
