"""How closely columns go with a target, in a form that one bad value cannot move and that ties cannot hide.

Spearman's rank correlation, divided by the most that the ties of the two columns allow: 1 when one column determines
the other by a rising or falling rule, also for a dummy against a return. For a 0/1 column against an untied one it is
the rank-biserial correlation, 2 AUC - 1 (Kerby 2014, doi.org/10.2466/11.IT.3.1).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

MIN_INFORMATION = 30
"""Untied rows' worth of knowledge below which a column says nothing about a correlation."""
DEVIATIONS = 3.0
"""Standard errors between a correlation and what is claimed of it."""

Matrix = NDArray[np.float32]


def ranks(columns: NDArray[np.floating[Any]]) -> Matrix:
    """Each column's values as mid-ranks between -0.5 and 0.5; NaN stays NaN.

    Args:
        columns: (rows, k).

    Returns:
        (rows, k) float32.
    """
    ranked = pl.DataFrame(np.asfortranarray(columns)).select(pl.all().fill_nan(None))
    scaled = ranked.select(((pl.all().rank() - 0.5) / pl.all().count() - 0.5).cast(pl.Float32))
    return scaled.fill_null(float("nan")).to_numpy()


@dataclass(frozen=True)
class Association:
    """Every column of one table against every column of another."""

    value: NDArray[np.float64]
    """(k, m) -1 to 1; 0 where nothing is known."""
    sure: NDArray[np.float64]
    """(k, m) 0 to 1: what |value| is at least, `DEVIATIONS` standard errors below it (Fisher's z)."""


def associate(x: Matrix, y: Matrix, overlap: NDArray[np.float64] | float = 1.0) -> Association:
    """Rank correlations over the rows where both are known.

    Args:
        x: (rows, k) mid-ranks.
        y: (rows, m) mid-ranks.
        overlap: (m,) rows that share most of a value of y, its horizon: so many count as one.
    """
    known_x, known_y = (~np.isnan(ranked) for ranked in (x, y))
    x, y = np.where(known_x, x, 0), np.where(known_y, y, 0)
    here_x, here_y = known_x.astype(np.float32), known_y.astype(np.float32)
    num = np.maximum(here_x.T @ here_y, 1).astype(np.float64)
    mean_x, mean_y = x.T @ here_y / num, here_x.T @ y / num
    covariance = x.T @ y / num - mean_x * mean_y
    variance_x = (x * x).T @ here_y / num - mean_x**2
    variance_y = here_x.T @ (y * y) / num - mean_y**2
    # Mid-ranks are the mean of what lies behind a tie, so the coarser column bounds the covariance by its variance.
    coarse, fine = np.minimum(variance_x, variance_y), np.maximum(variance_x, variance_y)
    # The variance of n untied ranks is 1/12.
    informed = 12 * coarse * num >= MIN_INFORMATION
    safe = np.where(informed, coarse, 1.0)
    value = np.where(informed, np.clip(covariance / safe, -1, 1), 0.0)
    independent = np.where(informed, num / overlap * safe / np.where(informed, fine, 1.0), 0.0)
    return Association(value, _at_least(np.abs(value), independent))


def _at_least(value: NDArray[np.float64], independent: NDArray[np.float64]) -> NDArray[np.float64]:
    # A perfect correlation would be sure at any number of rows.
    z = np.arctanh(np.minimum(value, 0.999))
    error = DEVIATIONS / np.sqrt(np.maximum(independent - 3, 1e-9))
    return np.tanh(np.maximum(z - error, 0.0))
