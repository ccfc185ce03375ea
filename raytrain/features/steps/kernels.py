"""Arithmetic along the rows of series: many series and columns at a time, all arrays (..., rows) float64, NaN unknown.

Windows and recursive averages are built by doubling: a window of 2n rows is two windows of n rows, one behind the
other. So each value is made of its own window only. Nothing is taken away again, as running sums do, hence no rounding
is left of what has gone by, and a window that does not move has a deviation of exactly 0; and rows that come later
change no bit of a value.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Statistics = tuple[Array, ...]
_LEAST_SHARE = 1e-7
"""Of the squared distance that a window moves: less would leave fewer than eight digits."""
Join = Callable[[Statistics, Statistics, int], Statistics]


def most_of(rows: int) -> int:
    """How many values of a window of `rows` must be known."""
    return max(2, -(-rows * 4 // 5))


def shifted(x: Array, rows: int) -> Array:
    """The values `rows` rows ago."""
    found = np.empty_like(x)
    found[..., :rows] = np.nan
    found[..., rows:] = x[..., :-rows]
    return found


def change(x: Array, rows: int = 1) -> Array:
    """The value minus that of `rows` rows ago."""
    found = shifted(x, rows)
    return np.subtract(x, found, out=found)


def log_change(x: Array, rows: int = 1) -> Array:
    """Log of the value over that of `rows` rows ago."""
    found = shifted(x, rows)
    np.divide(x, found, out=found)
    return np.log(found, out=found)


def ratio(top: Array, bottom: Array) -> Array:
    """`top` / `bottom`; NaN where `bottom` is 0."""
    return top / np.where(bottom == 0, np.nan, bottom)


def rolling_mean(x: Array, rows: int) -> Array:
    """Mean of a window most of which is known."""
    count, total = _windows(_known(x), rows, _sum)
    return total / _enough(count, rows)


def rolling_std(x: Array, rows: int) -> Array:
    """Sample standard deviation of a window most of which is known."""
    return _distances(x, rows, ddof=1)[1]


def score(x: Array, rows: int, ddof: int = 1) -> Array:
    """Deviations of the value from its rolling mean; NaN where the window does not move."""
    distance, deviation = _distances(x, rows, ddof)
    return ratio(distance, deviation)


def smoothed(x: Array, rows: int, weight: float) -> Array:
    """A recursive average: the mean of the first `rows` known values, then `weight` for each new one.

    Wilder's average has weight 1/rows, the usual exponential average 2/(rows + 1).
    """

    def smooth(known: Array) -> Array:
        parts = weight * known
        parts[..., : rows - 1] = 0
        parts[..., rows - 1 : rows] = known[..., :rows].mean(axis=-1, keepdims=True)
        _accumulate(parts, 1 - weight)
        parts[..., : rows - 1] = np.nan
        return parts

    return _over_known(smooth, x)


def faded_mean(x: Array, half_life: int) -> Array:
    """Mean of all known values so far, each counting half as much as that `half_life` known values later.

    NaN until `half_life` values are known.
    """
    decay = 0.5 ** (1 / half_life)

    def average(known: Array) -> Array:
        weight = _accumulate(np.ones(known.shape[-1]), decay)
        weight[: half_life - 1] = np.nan
        found = _accumulate(known.copy(), decay)
        found /= weight
        return found

    return _over_known(average, x)


def _distances(x: Array, rows: int, ddof: int) -> tuple[Array, Array]:
    """The value minus its rolling mean, and the rolling standard deviation."""
    first = np.isnan(x).argmin(axis=-1, keepdims=True)
    offset = x - np.take_along_axis(x, first, axis=-1)
    known, values = _known(offset)
    count, total, squares = _windows((known, values, values * values), rows, _sum)
    count = _enough(count, rows)
    mean = total / count
    distance = offset - mean
    total *= mean
    squares -= total
    # What a window moves may be lost beside its distance from the series' first value. Merging loses nothing, but is
    # three times the work.
    lost = squares < _LEAST_SHARE * total
    if lost.any():
        _, mean, merged = _windows((*_known(x), np.zeros_like(x)), rows, _merge)
        distance, squares = np.where(lost, x - mean, distance), np.where(lost, merged, squares)
    squares /= count - ddof
    return distance, np.sqrt(squares, out=squares)


def _known(x: Array) -> tuple[Array, Array]:
    """How many values there are on each row, 1 or 0, and the values with 0 for missing ones.

    The count is (rows,) where the same rows are known everywhere, which saves a third of the work.
    """
    known = ~np.isnan(x)
    if known.all():
        return np.ones(x.shape[-1]), x
    first = known.reshape(-1, x.shape[-1])[0]
    count = first if (known == first).all() else known
    return count.astype(np.float64), np.where(known, x, 0.0)


def _enough(count: Array, rows: int) -> Array:
    """The count; NaN where too few are known."""
    return np.where(count >= most_of(rows), count, np.nan)


def _windows(part: Statistics, rows: int, join: Join) -> Statistics:
    """Statistics of windows of `rows` rows; the first ones of a series are shorter.

    Args:
        part: statistics of each row by itself.
        rows: length of a window.
        join: statistics of windows together with those that end so many rows before.
    """
    whole: Statistics = ()
    length, size = 0, 1
    while True:
        if rows & size:
            whole = join(whole, part, length) if whole else part
            length += size
        if 2 * size > rows:
            return whole
        part = join(part, part, size)
        size *= 2


def _sum(newer: Statistics, older: Statistics, back: int) -> Statistics:
    """Of counts and sums."""
    found = tuple(_head_of(one, back) for one in newer)
    for one, other, joined in zip(newer, older, found, strict=True):
        np.add(one[..., back:], other[..., :-back], out=joined[..., back:])
    return found


def _merge(newer: Statistics, older: Statistics, back: int) -> Statistics:
    """Of counts, means and summed squared deviations (Chan, Golub & LeVeque 1983, American Statistician 37)."""
    found = tuple(_head_of(one, back) for one in newer)
    count, mean, squares = (one[..., back:] for one in newer)
    older_count, older_mean, older_squares = (one[..., :-back] for one in older)
    new_count, new_mean, new_squares = (one[..., back:] for one in found)
    np.add(count, older_count, out=new_count)
    share = older_count / np.maximum(new_count, 1)
    gap = older_mean - mean
    np.multiply(gap, share, out=new_mean)
    new_mean += mean
    gap *= gap
    gap *= share * count
    gap += older_squares
    np.add(squares, gap, out=new_squares)
    return found


def _head_of(x: Array, rows: int) -> Array:
    """An array to be filled behind its first rows, which have nothing before them and stay as they are."""
    found = np.empty_like(x)
    found[..., :rows] = x[..., :rows]
    return found


def _accumulate(x: Array, decay: float) -> Array:
    """Each value plus `decay` times the result before it, in place."""
    back = 1
    while back < x.shape[-1] and decay > 0:
        x[..., back:] += decay * x[..., :-back]
        back, decay = 2 * back, decay * decay
    return x


def _over_known(compute: Callable[[Array], Array], x: Array) -> Array:
    """Compute as if the unknown values were not there; NaN on their rows."""
    missing = np.isnan(x)
    first = int((~missing).any(axis=tuple(range(x.ndim - 1))).argmax()) if missing.any() else 0
    found = np.full_like(x, np.nan)
    if missing[..., first:].any():
        order = np.argsort(missing, axis=-1, kind="stable")
        np.put_along_axis(found, order, compute(np.take_along_axis(x, order, axis=-1)), axis=-1)
    else:
        found[..., first:] = compute(x[..., first:])
    return found
