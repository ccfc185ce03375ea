"""Measures of forecasts that are quantiles: how sharp, and how honest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from raytrain.errors import DataError
from raytrain.metrics.checks import Floats, finite


def pinball_losses(actual: ArrayLike, predicted: ArrayLike, levels: Sequence[float]) -> Floats:
    """The pinball loss of each row, averaged over the levels; see `pinball_loss`.

    Returns:
        (n,), in the unit of the input.
    """
    losses: Floats = _pinball(*_quantiles(actual, predicted, levels)).mean(axis=1)
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


def level_weights(levels: Sequence[float]) -> Floats:
    """(q,) the share of 0 to 1 that each level stands for: the levels nearer to it than to any other. They sum to 1.

    >>> level_weights([0.1, 0.5, 0.9]).round(3).tolist()
    [0.3, 0.4, 0.3]
    """
    level = _levels(levels)
    if (np.diff(level) <= 0).any():
        raise DataError(f"quantile levels must rise, got {list(levels)}")
    borders = np.concatenate([[0.0], (level[1:] + level[:-1]) / 2, [1.0]])
    return np.diff(borders)


def crps(actual: ArrayLike, predicted: ArrayLike, levels: Sequence[float]) -> float:
    """Continuous ranked probability score from quantiles: mean over rows of 2 * sum(w * pinball) over the levels.

    Lower is better; in the unit of the input. The score is twice the integral of the pinball loss over all levels; here
    the levels stand for the part of 0 to 1 that is nearest to them (w, `level_weights`). The median alone gives the
    mean absolute error, as a point forecast should; the levels (k - 0.5) / m are m equally likely members and give
    the score of that ensemble exactly.

    Args:
        actual: (n,).
        predicted: (n, q) quantiles, one column per level. They may cross.
        levels: q rising levels in (0, 1). Scores at different levels do not compare.

    Sources: Gneiting & Ranjan (2011), Comparing density forecasts using threshold- and quantile-weighted scoring rules,
        JBES 29(3), equation 8; Laio & Tamea (2007), Hydrol. Earth Syst. Sci. 11.
    """
    weights = level_weights(levels)
    return float(2 * (_pinball(*_quantiles(actual, predicted, levels)) @ weights).mean())


def coverage(actual: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of rows with low <= actual <= high, ends included, 0 to 1.

    Best when equal to the interval's nominal share (0.8 for the quantiles 0.1 and 0.9); higher is not better. An
    interval with `low` above `high` covers nothing.
    """
    actual, low, high = finite(actual=actual, low=low, high=high)
    return float(np.mean((low <= actual) & (actual <= high)))


def shares_below(actual: ArrayLike, predicted: ArrayLike, levels: Sequence[float]) -> Floats:
    """Share of outcomes at or below each quantile: calibrated when equal to the quantile's level.

    Args:
        actual: (n,).
        predicted: (n, q) quantiles, one column per level.
        levels: q levels in (0, 1).

    Returns:
        (q,) 0 to 1.

    Source: Gneiting, Balabdaoui & Raftery (2007), Probabilistic forecasts, calibration and sharpness, JRSS B 69(2).
    """
    actual, predicted, _ = _quantiles(actual, predicted, levels)
    shares: Floats = (actual[:, None] <= predicted).mean(axis=0)
    return shares


def pit_shares(actual: ArrayLike, predicted: ArrayLike, levels: Sequence[float]) -> Floats:
    """Share of outcomes in each bin that the quantiles cut: a histogram of the probability integral transform.

    An outcome is in bin k when k of its row's quantiles lie below it, so bins 0 and q are the tails. Calibrated when
    equal to the differences of (0, *levels, 1): heavy tails mean a band that is too narrow, a heavy side a bias.

    Returns:
        (q + 1,) 0 to 1, of sum 1.

    Source: Diebold, Gunther & Tay (1998), Evaluating density forecasts, International Economic Review 39(4).
    """
    actual, predicted, level = _quantiles(actual, predicted, levels)
    num_below = (predicted < actual[:, None]).sum(axis=1)
    shares: Floats = np.bincount(num_below, minlength=len(level) + 1) / len(actual)
    return shares


def _pinball(actual: Floats, predicted: Floats, level: Floats) -> Floats:
    above = actual[:, None] - predicted
    return np.maximum(level * above, (level - 1) * above)


def _quantiles(actual: ArrayLike, predicted: ArrayLike, levels: Sequence[float]) -> tuple[Floats, Floats, Floats]:
    actual, predicted = finite(actual=actual, predicted=predicted)
    if predicted.shape != (len(actual), len(levels)):
        raise DataError(
            f"quantiles must have the shape (rows, levels) = {(len(actual), len(levels))}, got {predicted.shape}"
        )
    return actual, predicted, _levels(levels)


def _levels(levels: Sequence[float]) -> Floats:
    level = np.asarray(levels, dtype=np.float64)
    if not ((level > 0) & (level < 1)).all():
        raise DataError(f"quantile levels must lie between 0 and 1, got {list(levels)}")
    return level
