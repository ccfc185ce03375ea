"""Measures of a probability against a label of 0 or 1."""

import numpy as np
from numpy.typing import ArrayLike

from raytrain.metrics.checks import binary


def brier(actual: ArrayLike, probability: ArrayLike) -> float:
    """Brier score: mean((probability - actual)**2), 0 to 1. Lower is better; 0.25 is what a constant 0.5 gets.

    Source: Brier (1950), Verification of forecasts expressed in terms of probability.
    """
    actual, probability = binary(actual, probability)
    return float(np.mean((probability - actual) ** 2))


def log_loss(actual: ArrayLike, probability: ArrayLike) -> float:
    """Mean of -log of the probability given to what happened, in nats. Lower is better; ln 2 for a constant 0.5.

    Probabilities are kept one float64 epsilon away from 0 and 1, so a certain forecast that is wrong costs 36, not
    infinity (as in scikit-learn).
    """
    actual, probability = binary(actual, probability)
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
    actual, probability = binary(actual, probability)
    positive = int(actual.sum())
    negative = len(actual) - positive
    if positive == 0 or negative == 0:
        return float("nan")
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    rank_sum = mean_rank[place][actual == 1].sum()
    return float((rank_sum - positive * (positive + 1) / 2) / (positive * negative))


def precision_at_base_rate(actual: ArrayLike, probability: ArrayLike) -> float:
    """Of the rows with the highest probabilities, as many as there are positives, the share that are positive.

    Higher is better; a forecast that knows nothing gets the base rate. Recall is the same number, since as many rows
    are called as are positive. Rows that tie at the border are taken in equal parts, so their order does not matter.

    Returns:
        nan when no row is positive.

    Source: Manning, Raghavan & Schuetze (2008), Introduction to information retrieval, section 8.4 (R-precision).
    """
    actual, probability = binary(actual, probability)
    num_called = int(actual.sum())
    if num_called == 0:
        return float("nan")
    border = np.partition(probability, -num_called)[-num_called]
    above, at = probability > border, probability == border
    share_of_ties = (num_called - above.sum()) / at.sum()
    return float((actual[above].sum() + share_of_ties * actual[at].sum()) / num_called)
