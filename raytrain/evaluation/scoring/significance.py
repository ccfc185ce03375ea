"""How sure a difference between two forecasters is, when losses of neighbouring dates depend on each other."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.metrics import Floats

MIN_BLOCKS = 3
"""Fewer blocks of dates say nothing: with two, one in five forecasters no better than naive seemed better."""


def skill_interval(
    loss: ArrayLike,
    naive_loss: ArrayLike,
    dates: ArrayLike,
    horizon: int,
    *,
    level: float = 0.9,
    samples: int = 500,
    seed: int = 42,
) -> tuple[float, float]:
    """Confidence interval of the skill 1 - sum(loss) / sum(naive_loss), by a circular block bootstrap over dates.

    The losses of one date are added up and stay together, since series move together. Blocks are as long as forecasts
    overlap: max(horizon, number of dates ** (1/3)) dates. The percentiles are widened for the number of blocks by
    Student's t. Of forecasters no better than the yardstick, 5 % should seem better at a level of 0.9: in simulations
    with 5 blocks of a 20-row horizon 7 % did, against 18 % with plain percentiles; with 3 blocks 10 %, with many 5-9 %.

    Args:
        loss: (n,) loss of the candidate, row by row; lower is better.
        naive_loss: (n,) loss of the yardstick on the same rows.
        dates: (n,) date of each row, in any order; several series may share one.
        horizon: rows ahead that the forecasts look.
        level: two-sided confidence, between 0 and 1; 0.9 leaves 5 % on either side.
        samples: bootstrap samples.
        seed: the same seed gives the same interval.

    Returns:
        (low, high), fractions; (nan, nan) when there are fewer than 3 blocks of dates, when a loss is not finite, or
        when the yardstick loses nothing in some sample.

    Sources: Kuensch (1989), Annals of Statistics 17(3); Politis & Romano (1992), A circular block-resampling procedure;
        Hesterberg (2015), What teachers should know about the bootstrap, section 5.3, expanded percentiles.
    """
    sums, naive_sums = sum_by_date(dates, np.asarray(loss, np.float64), np.asarray(naive_loss, np.float64))
    num_dates = len(sums)
    block = max(horizon, int(np.ceil(num_dates ** (1 / 3))))
    num_blocks = num_dates / block
    sound = np.isfinite(sums).all() and np.isfinite(naive_sums).all()
    if num_blocks < MIN_BLOCKS or not sound:
        return float("nan"), float("nan")
    starts, ends = _blocks(num_dates, block, samples, np.random.default_rng(seed))
    resampled = _block_sums(naive_sums, starts, ends)
    if not resampled.all():
        return float("nan"), float("nan")
    skills = 1 - _block_sums(sums, starts, ends) / resampled
    tail = expanded_tail((1 - level) / 2, num_blocks)
    low, high = np.quantile(skills, [tail, 1 - tail])
    return float(low), float(high)


def sum_by_date(dates: ArrayLike, *losses: Floats) -> list[Floats]:
    """Each loss summed per date, by rising date: (number of dates,)."""
    _, place = np.unique(np.asarray(dates), return_inverse=True)
    return [np.bincount(place, weights=loss).astype(np.float64) for loss in losses]


def _blocks(
    num_dates: int, block: int, samples: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends, (samples, blocks), on the dates laid twice end to end; each sample has `num_dates` dates."""
    per_sample = -(-num_dates // block)
    lengths = np.full(per_sample, block)
    lengths[-1] = num_dates - (per_sample - 1) * block
    starts = rng.integers(0, num_dates, (samples, per_sample))
    return starts, starts + lengths


def _block_sums(values: Floats, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Floats:
    """(samples,) sum of the values inside the blocks of each sample."""
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values]))])
    total: Floats = (running[ends] - running[starts]).sum(axis=1)
    return total


def expanded_tail(tail: float, num_blocks: float) -> float:
    """The percentile that makes a bootstrap interval as wide as Student's t with one degree of freedom less."""
    from scipy.special import stdtrit

    quantile = np.sqrt(num_blocks / (num_blocks - 1)) * stdtrit(num_blocks - 1, tail)
    return NormalDist().cdf(float(quantile))
