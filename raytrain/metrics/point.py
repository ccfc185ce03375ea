"""Measures of one number forecast per row."""

import numpy as np
from numpy.typing import ArrayLike

from raytrain.errors import DataError
from raytrain.metrics.checks import finite


def mape(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute percentage error as a fraction (0.03 is 3 %): mean(|predicted - actual| / |actual|).

    Lower is better. Meant for price levels; for returns, which pass through zero, it says nothing.

    Raises:
        DataError: an actual is 0. Such rows are never dropped: the mean would be of other rows than its readers think.

    Source: Hyndman & Koehler (2006), Another look at measures of forecast accuracy, IJF 22(4).
    """
    actual, predicted = finite(actual=actual, predicted=predicted)
    num_zeros = int((actual == 0).sum())
    if num_zeros:
        raise DataError(
            f"MAPE needs actual values other than 0, got {num_zeros} zeros in {len(actual)} rows; "
            "use `smape`, `rmse` or `mae` for a series that touches 0"
        )
    return float(np.mean(np.abs(predicted - actual) / np.abs(actual)))


def smape(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Symmetric MAPE as a fraction, 0 to 2: mean(2 |predicted - actual| / (|actual| + |predicted|)).

    Lower is better. A row whose actual and forecast are both 0 was forecast exactly and counts 0.

    Source: Makridakis, Spiliotis & Assimakopoulos (2020), The M4 competition, IJF 36(1).
    """
    actual, predicted = finite(actual=actual, predicted=predicted)
    error, size = np.abs(predicted - actual), np.abs(actual) + np.abs(predicted)
    return float(np.mean(2 * np.divide(error, size, out=np.zeros_like(error), where=size > 0)))


def rmse(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean squared error, in the unit of the input. Lower is better."""
    actual, predicted = finite(actual=actual, predicted=predicted)
    return float(np.sqrt(np.mean((predicted - actual) ** 2)))


def mae(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error, in the unit of the input. Lower is better."""
    actual, predicted = finite(actual=actual, predicted=predicted)
    return float(np.mean(np.abs(predicted - actual)))


def directional_accuracy(actual: ArrayLike, predicted: ArrayLike) -> tuple[float, int]:
    """Share of calls with the right sign, 0 to 1, and the number of calls.

    Higher is better. A forecast of exactly 0 is no call and is left out; a call on a row whose actual is 0 was wrong.

    Args:
        actual: (n,) returns or differences.
        predicted: (n,) forecasts of them.

    Returns:
        (share, number of calls); (nan, 0) when there is no call.
    """
    actual, predicted = finite(actual=actual, predicted=predicted)
    called = predicted != 0
    num_calls = int(called.sum())
    if num_calls == 0:
        return float("nan"), 0
    right = np.sign(actual[called]) == np.sign(predicted[called])
    return float(right.mean()), num_calls
