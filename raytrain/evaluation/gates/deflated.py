"""Whether a Sharpe ratio is more than the luck of the best of all recipes that were tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, isfinite, sqrt
from statistics import NormalDist

import numpy as np

EULER = 0.5772156649015329
"""The Euler-Mascheroni constant."""

MIN_TRIALS = 5
"""From fewer Sharpe ratios their variance is not estimated, but taken to be what chance alone gives."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a series of returns tells about its Sharpe ratio; nothing here is annualised."""

    sharpe: float
    """Mean over deviation of the returns of one row."""
    skewness: float
    kurtosis: float
    """3 for a normal distribution."""
    num_returns: int
    """At least 2."""


@dataclass(frozen=True, kw_only=True)
class Deflated:
    """A Sharpe ratio beside the one that luck gives."""

    probability: float
    """That the true Sharpe ratio is above what the best of the recipes has by luck, 0 to 1; higher is better."""
    luckiest: float
    """That one, of one row's returns: the largest Sharpe ratio expected of recipes that earn nothing."""
    num_recipes: int


def deflate(sample: Sample, num_recipes: int, tried: Sequence[float] = ()) -> Deflated:
    """The deflated Sharpe ratio: the probability that the Sharpe ratio is above the luckiest of `num_recipes`.

    DSR = Phi((SR - SR0) sqrt(T - 1) / sqrt(1 - skewness SR + (kurtosis - 1) / 4 SR^2)), with SR0 from
    `expected_maximum` and the variance of the Sharpe ratios that were tried. Of fewer than 5 that are known the
    variance is taken to be 1 / (T - 1), that of recipes which earn nothing and do not resemble each other.

    Args:
        sample: of the candidate.
        num_recipes: how many recipes were tried before this one was looked at, itself included.
        tried: Sharpe ratios of recipes that were tried, of one row's returns, as far as they are known.

    Source: Bailey & Lopez de Prado (2014), The deflated Sharpe ratio, Journal of Portfolio Management 40(5).
    """
    known = [one for one in tried if isfinite(one)]
    by_chance = 1 / (sample.num_returns - 1)
    variance = float(np.var(known, ddof=1)) if len(known) >= MIN_TRIALS else by_chance
    luckiest = expected_maximum(variance, num_recipes)
    return Deflated(probability=probability_above(sample, luckiest), luckiest=luckiest, num_recipes=num_recipes)


def expected_maximum(variance: float, num_recipes: int) -> float:
    """The largest Sharpe ratio to be expected of recipes whose true one is 0.

    sqrt(variance) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e))), with g Euler's constant and z the normal quantile; 0 for a
    single recipe, among which there was no choice.

    Source: Bailey & Lopez de Prado (2014), equation 1.
    """
    if num_recipes <= 1:
        return 0.0
    z = NormalDist().inv_cdf
    return sqrt(variance) * ((1 - EULER) * z(1 - 1 / num_recipes) + EULER * z(1 - 1 / (num_recipes * e)))


def probability_above(sample: Sample, benchmark: float) -> float:
    """Probability that the true Sharpe ratio is above a benchmark, both of one row's returns.

    Source: Bailey & Lopez de Prado (2012), The Sharpe ratio efficient frontier, Journal of Risk 15(2).
    """
    sharpe = sample.sharpe
    spread = 1 - sample.skewness * sharpe + (sample.kurtosis - 1) / 4 * sharpe**2
    # By Pearson's inequality (kurtosis >= skewness^2 + 1) the spread is at least 0; 0 is a two-valued sample.
    error = sqrt(max(spread, 1e-300) / (sample.num_returns - 1))
    return NormalDist().cdf((sharpe - benchmark) / error)
