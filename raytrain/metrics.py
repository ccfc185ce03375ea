"""Measures of forecasts: arrays in, numbers out, computed in float64.

Every measure refuses (DataError) empty arrays, arrays of different lengths and NaN or infinite values: a row that is
not known is left out by the caller, who then knows how many rows are left.
Names: a `*_loss` or an error is better when lower; coverage is better when near its nominal value.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import DataError

Floats = NDArray[np.float64]


def mape(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute percentage error as a fraction (0.03 is 3 %): mean(|predicted - actual| / |actual|).

    Lower is better. Meant for price levels; for returns, which pass through zero, it says nothing.

    Raises:
        DataError: an actual is 0. Such rows are never dropped: the mean would be of other rows than its readers think.

    Source: Hyndman & Koehler (2006), Another look at measures of forecast accuracy, IJF 22(4).
    """
    actual, predicted = _finite(actual=actual, predicted=predicted)
    num_zeros = int((actual == 0).sum())
    if num_zeros:
        raise DataError(
            f"MAPE needs actual values other than 0, got {num_zeros} zeros in {len(actual)} rows; "
            "use `rmse` or `mae` for a series that touches 0"
        )
    return float(np.mean(np.abs(predicted - actual) / np.abs(actual)))


def rmse(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean squared error, in the unit of the input. Lower is better."""
    actual, predicted = _finite(actual=actual, predicted=predicted)
    return float(np.sqrt(np.mean((predicted - actual) ** 2)))


def mae(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error, in the unit of the input. Lower is better."""
    actual, predicted = _finite(actual=actual, predicted=predicted)
    return float(np.mean(np.abs(predicted - actual)))


def pinball_losses(actual: ArrayLike, predicted: ArrayLike, levels: Sequence[float]) -> Floats:
    """The pinball loss of each row, averaged over the levels; see `pinball_loss`.

    Returns:
        (n,), in the unit of the input.
    """
    actual, predicted = _finite(actual=actual, predicted=predicted)
    if predicted.shape != (len(actual), len(levels)):
        raise DataError(
            f"quantiles must have the shape (rows, levels) = {(len(actual), len(levels))}, got {predicted.shape}"
        )
    level = np.asarray(levels, dtype=np.float64)
    if not ((level > 0) & (level < 1)).all():
        raise DataError(f"quantile levels must lie between 0 and 1, got {list(levels)}")
    above = actual[:, None] - predicted
    losses: Floats = np.maximum(level * above, (level - 1) * above).mean(axis=1)
    return losses


def pinball_loss(actual: ArrayLike, predicted: ArrayLike, levels: Sequence[float]) -> float:
    """Mean over rows and levels of max(a * (y - q), (a - 1) * (y - q)) for level a and its quantile q.

    Lower is better. At level 0.5 alone it is half the mean absolute error.

    Args:
        actual: (n,).
        predicted: (n, q) quantiles, one column per level. They may cross.
        levels: q levels in (0, 1).

    Source: Koenker & Bassett (1978), Regression quantiles, Econometrica 46(1).
    """
    return float(pinball_losses(actual, predicted, levels).mean())


def coverage(actual: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of rows with low <= actual <= high, ends included, 0 to 1.

    Best when equal to the interval's nominal share (0.8 for the quantiles 0.1 and 0.9); higher is not better. An
    interval with `low` above `high` covers nothing.
    """
    actual, low, high = _finite(actual=actual, low=low, high=high)
    return float(np.mean((low <= actual) & (actual <= high)))


def directional_accuracy(actual: ArrayLike, predicted: ArrayLike) -> tuple[float, int]:
    """Share of calls with the right sign, 0 to 1, and the number of calls.

    Higher is better. A forecast of exactly 0 is no call and is left out; a call on a row whose actual is 0 was wrong.

    Args:
        actual: (n,) returns or differences.
        predicted: (n,) forecasts of them.

    Returns:
        (share, number of calls); (nan, 0) when there is no call.
    """
    actual, predicted = _finite(actual=actual, predicted=predicted)
    called = predicted != 0
    num_calls = int(called.sum())
    if num_calls == 0:
        return float("nan"), 0
    right = np.sign(actual[called]) == np.sign(predicted[called])
    return float(right.mean()), num_calls


def sharpe(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised Sharpe ratio: mean / sample deviation (ddof=1) * sqrt(periods_per_year). Higher is better.

    The returns are in excess of the risk-free rate, one per period, and must not overlap: a series of h-row returns
    taken on every row looks sqrt(h) times too good (see `overlapping_portfolio`).

    Returns:
        nan with fewer than two returns, or when they do not vary.

    Source: Sharpe (1994), The Sharpe ratio, Journal of Portfolio Management 21(1).
    """
    (returns,) = _finite(returns=returns)
    if len(returns) < 2:
        return float("nan")
    deviation = returns.std(ddof=1)
    # The deviation of equal floats is rounding, not 0: dividing by it would give a huge ratio.
    if deviation <= 1e-12 * np.abs(returns).max():
        return float("nan")
    return float(returns.mean() / deviation * np.sqrt(periods_per_year))


def overlapping_portfolio(
    positions: ArrayLike, one_row_returns: ArrayLike, horizon: int, cost_bp: float = 0.0
) -> Floats:
    """One-row returns of a strategy whose positions are each held for `horizon` rows.

    On each row the capital is spread equally over the positions taken on the `horizon` rows before it, so a position
    formed at the close of row t earns the returns of rows t+1 to t+horizon, and the returns of overlapping forecasts
    do not overlap.

    Args:
        positions: (n,) taken at the close of each row: -1 short, 0 flat, 1 long; NaN where no forecast was made.
        one_row_returns: (n,) simple return from the row before to this one. Read only where a position is held, so
            the first may be NaN.
        horizon: rows that a position is held, at least 1.
        cost_bp: cost of trading the whole capital once, in basis points; charged on the change of what is held.

    Returns:
        (n,), NaN on rows where nothing is held and no cost is paid.

    Source: Jegadeesh & Titman (1993), Returns to buying winners and selling losers, Journal of Finance 48(1).
    """
    position, returns = np.asarray(positions, np.float64), np.asarray(one_row_returns, np.float64)
    if horizon < 1 or position.shape != returns.shape or position.ndim != 1:
        raise DataError(
            "a portfolio needs a horizon of at least 1 row and as many returns as positions, "
            f"got a horizon of {horizon}, {position.shape} positions and {returns.shape} returns"
        )
    held, live = _mean_of_last(position, horizon)
    if not np.isfinite(returns[live]).all() or np.isinf(position).any():
        raise DataError("positions and the returns they earn must be finite; give NaN only where no forecast was made")
    cost = cost_bp / 1e4 * np.abs(np.diff(held, prepend=0.0))
    gained = np.where(live, held * returns, 0.0) - cost
    return np.where(live | (cost > 0), gained, np.nan)


def brier(actual: ArrayLike, probability: ArrayLike) -> float:
    """Brier score: mean((probability - actual)**2), 0 to 1. Lower is better; 0.25 is what a constant 0.5 gets.

    Source: Brier (1950), Verification of forecasts expressed in terms of probability.
    """
    actual, probability = _binary(actual, probability)
    return float(np.mean((probability - actual) ** 2))


def log_loss(actual: ArrayLike, probability: ArrayLike) -> float:
    """Mean of -log of the probability given to what happened, in nats. Lower is better; ln 2 for a constant 0.5.

    Probabilities are kept one float64 epsilon away from 0 and 1, so a certain forecast that is wrong costs 36, not
    infinity (as in scikit-learn).
    """
    actual, probability = _binary(actual, probability)
    epsilon = np.finfo(np.float64).eps
    probability = np.clip(probability, epsilon, 1 - epsilon)
    return float(-np.mean(np.where(actual == 1, np.log(probability), np.log1p(-probability))))


def roc_auc(actual: ArrayLike, probability: ArrayLike) -> float:
    """Area under the ROC curve: how often a random positive is ranked above a random negative, ties one half.

    Higher is better; 0.5 is chance.

    Returns:
        nan when only one class is present.

    Source: Hanley & McNeil (1982), Radiology 143(1): the area is the Mann-Whitney statistic.
    """
    actual, probability = _binary(actual, probability)
    positive = int(actual.sum())
    negative = len(actual) - positive
    if positive == 0 or negative == 0:
        return float("nan")
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    rank_sum = mean_rank[place][actual == 1].sum()
    return float((rank_sum - positive * (positive + 1) / 2) / (positive * negative))


def _mean_of_last(position: Floats, horizon: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Mean of the known positions of the `horizon` rows before each row (else 0), and whether there is one."""
    known = ~np.isnan(position)
    before = np.maximum(np.arange(len(position)) - horizon, 0)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, position, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    live_count = count[:-1] - count[before]
    return (total[:-1] - total[before]) / np.maximum(live_count, 1), live_count > 0


def _finite(**arrays: ArrayLike) -> list[Floats]:
    """The arrays as float64, once they are seen to be finite, of one length and not empty."""
    checked = {name: np.asarray(values, dtype=np.float64) for name, values in arrays.items()}
    lengths = {name: len(values) if values.ndim else 0 for name, values in checked.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise DataError(f"a measure needs arrays of one length, at least 1 row, got {lengths}")
    for name, values in checked.items():
        num_bad = int((~np.isfinite(values)).sum())
        if num_bad:
            raise DataError(
                f"`{name}` must be finite, got {num_bad} NaN or infinite of {values.size}; leave out what is not known"
            )
    return list(checked.values())


def _binary(actual: ArrayLike, probability: ArrayLike) -> list[Floats]:
    """Labels of 0 and 1 and probabilities, as float64."""
    label, chance = _finite(actual=actual, probability=probability)
    if not np.isin(label, (0, 1)).all():
        raise DataError(f"a label must be 0 or 1, got {label[~np.isin(label, (0, 1))][0]:g}")
    if ((chance < 0) | (chance > 1)).any():
        raise DataError(f"a probability must lie in 0 to 1, got {chance.min():g} to {chance.max():g}")
    return [label, chance]
