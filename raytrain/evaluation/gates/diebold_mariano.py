"""Whether one of two forecasters loses less than the other, by the Diebold-Mariano test."""

from dataclasses import dataclass
from math import copysign, inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from raytrain.evaluation.scoring.significance import MIN_BLOCKS, sum_by_date
from raytrain.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class DieboldMariano:
    """The outcome of a test of equal losses."""

    statistic: float
    """Above 0 when the candidate loses less; nan when it cannot be computed."""
    p_value: float
    """Probability, 0 to 1, that a candidate no better than the other gets such a statistic or a higher one."""
    num_dates: int

    def best_of(self, num_recipes: int) -> float:
        """Probability that the best of so many recipes, none of them better, gets such a statistic.

        Source: Sidak (1967), JASA 62(318). For recipes that resemble each other it is an upper bound.
        """
        # The form through logarithms keeps a small p-value from rounding to 0.
        return (
            nan if np.isnan(self.p_value) else float(-np.expm1(num_recipes * np.log1p(-min(self.p_value, 1 - 1e-16))))
        )


def diebold_mariano(loss: ArrayLike, other_loss: ArrayLike, dates: ArrayLike, horizon: int) -> DieboldMariano:
    """Test the mean of other_loss - loss against 0, one-sided, with the correction for small samples.

    The losses of one date are added up, since series move together. With d the differences of T dates, g_k their
    autocovariance at lag k and h the horizon: DM = mean(d) / sqrt((g_0 + 2 g_1 + ... + 2 g_{h-1}) / T), times
    sqrt((T + 1 - 2h + h(h-1)/T) / T). The sum of autocovariances may be 0 or below; Bartlett weights, with which it
    cannot, are then put on them. The statistic is compared with Student's t with ceil(T / h) - 1 degrees of freedom,
    the number of blocks that do not overlap: for h = 1 that is T - 1, as in the source; for longer horizons T - 1 finds
    too many differences (see `tests/evaluation/gates/test_diebold_mariano.py`).

    Args:
        loss: (n,) loss of the candidate, row by row; lower is better.
        other_loss: (n,) loss of the other on the same rows.
        dates: (n,) date of each row, in any order; several series may share one.
        horizon: rows ahead that the forecasts look.

    Returns:
        With a statistic of nan when there are fewer than 3 blocks of `horizon` dates or a loss is not finite, and of 0
        or infinity when the differences do not vary.

    Sources: Diebold & Mariano (1995), Comparing predictive accuracy, JBES 13(3); Harvey, Leybourne & Newbold (1997),
        Testing the equality of prediction mean squared errors, IJF 13(2).
    """
    ours, theirs = np.asarray(loss, np.float64), np.asarray(other_loss, np.float64)
    (differences,) = sum_by_date(dates, theirs - ours)
    num_dates = len(differences)
    if num_dates < max(MIN_BLOCKS * horizon, 2) or not np.isfinite(differences).all():
        return DieboldMariano(statistic=nan, p_value=nan, num_dates=num_dates)
    statistic = _statistic(differences, horizon)
    return DieboldMariano(
        statistic=statistic, p_value=_upper_tail(statistic, -(-num_dates // horizon) - 1), num_dates=num_dates
    )


def _statistic(differences: Floats, horizon: int) -> float:
    num, mean = len(differences), float(differences.mean())
    centred = differences - mean
    # The deviation of equal floats is rounding, not 0.
    if np.abs(centred).max() <= 1e-12 * np.abs(differences).max():
        return copysign(inf, mean) if mean else 0.0
    covariances = np.array([centred[lag:] @ centred[: num - lag] / num for lag in range(horizon)])
    variance = _long_run(covariances, np.ones(horizon))
    if variance <= 0:
        variance = _long_run(covariances, 1 - np.arange(horizon) / horizon)
    correction = (num + 1 - 2 * horizon + horizon * (horizon - 1) / num) / num
    return mean / sqrt(variance / num) * sqrt(correction)


def _long_run(covariances: Floats, weights: Floats) -> float:
    return float(covariances[0] + 2 * covariances[1:] @ weights[1:])


def _upper_tail(statistic: float, degrees: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(degrees, -statistic))
