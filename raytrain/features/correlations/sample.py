"""Correlations over whole samples: for the choice of pairs between blocks, and within each regime."""

import numpy as np
from numpy.typing import NDArray

from raytrain.features.correlations.rolling import Indices

Floats = NDArray[np.float64]

FLAT = 1e-12
"""A column whose variance is less than this share of its squares does not move: the rest is rounding."""


def sample_correlations(left: Floats, right: Floats, min_rows: int) -> tuple[Floats, Indices]:
    """Pearson's correlation of every column of one table with every column of another, where both are known.

    Args:
        left: (columns, rows), NaN where unknown.
        right: (other columns, rows).
        min_rows: fewer rows with both known make no correlation.

    Returns:
        (columns, other columns) correlations, NaN where unknown or where a column does not move; and the rows of each.
    """
    known_left, known_right = (np.isfinite(one).astype(float) for one in (left, right))
    left, right = _centred(left), _centred(right)
    num = known_left @ known_right.T
    safe = np.maximum(num, 1)
    total_left, total_right = left @ known_right.T, known_left @ right.T
    squares_left, squares_right = (left * left) @ known_right.T, known_left @ (right * right).T
    spread_left, spread_right = squares_left - total_left**2 / safe, squares_right - total_right**2 / safe
    sure = (num >= min_rows) & (spread_left > FLAT * squares_left) & (spread_right > FLAT * squares_right)
    covariance = left @ right.T - total_left * total_right / safe
    found = np.full_like(covariance, np.nan)
    np.divide(covariance, np.sqrt(np.where(sure, spread_left * spread_right, 1)), where=sure, out=found)
    return np.clip(found, -1, 1), num.astype(np.intp)


def sample_pairs(values: Floats, pairs: Indices, min_rows: int) -> tuple[Floats, Indices]:
    """The same for chosen pairs of one table's columns: (pairs,) correlations and rows."""
    lefts, rights = np.unique(pairs[:, 0]), np.unique(pairs[:, 1])
    found, counts = sample_correlations(values[lefts], values[rights], min_rows)
    where = np.searchsorted(lefts, pairs[:, 0]), np.searchsorted(rights, pairs[:, 1])
    return found[where], counts[where]


def strongest(correlations: Floats, k: int) -> list[tuple[int, int]]:
    """Row and column of the `k` largest absolute correlations, strongest first; unknown ones are never chosen."""
    size = np.nan_to_num(np.abs(correlations), nan=-1.0).ravel()
    order = np.argsort(-size, kind="stable")[:k]
    rows, columns = np.unravel_index(order[size[order] >= 0], correlations.shape)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _centred(values: Floats) -> Floats:
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=1, keepdims=True)
    return np.where(known, values - total / np.maximum(known.sum(axis=1, keepdims=True), 1), 0.0)
