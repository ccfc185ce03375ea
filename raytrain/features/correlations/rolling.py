"""Rolling correlations of many pairs in one pass, by prefix sums of products.

With prefix sums S a window's sum is S[end] - S[start], however long the window is, so several windows share one pass
over the products. Two things keep that difference exact: values are centred first, and the sums start anew with every
chunk of rows. Chunks are counted from the first row and nothing in one depends on later rows, so rows that come later
change no bit of what was there before.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

CHUNK = 8192
"""Rows computed together: few enough for the sums to stay near the processor, many beside those of a window."""
BATCH = 512
"""Pairs computed together."""
FLAT = 1e-10
"""A column whose squares in the window are less than this share of those since the chunk's first window does not move
there: what is left of it is rounding, and its correlation is unknown."""


@dataclass(frozen=True)
class Windows:
    """Where the windows of every row begin; a window ends with its row."""

    starts: Indices
    """(windows, rows) the first row inside, never falling along the rows."""
    full: NDArray[np.bool_]
    """(windows, rows) whether the table reaches back over the whole window."""

    @classmethod
    def of_days(cls, dates: NDArray[np.datetime64], days: tuple[int, ...]) -> "Windows":
        """Windows of calendar time, without the instant that lies exactly so many days back (as in pandas).

        Args:
            dates: (rows,) rising.
            days: length of each window.
        """
        edges = [dates - np.timedelta64(length, "D") for length in days]
        return cls(
            np.array([np.searchsorted(dates, edge, side="right") for edge in edges], np.intp),
            np.array([dates[:1] <= edge for edge in edges]),
        )

    @classmethod
    def of_rows(cls, num_rows: int, lengths: tuple[int, ...]) -> "Windows":
        """Windows of so many rows, the row's own included."""
        row = np.arange(num_rows)
        return cls(
            np.array([np.maximum(row - length + 1, 0) for length in lengths], np.intp),
            np.array([row >= length - 1 for length in lengths]),
        )

    @property
    def most_rows(self) -> Indices:
        """(windows,) rows in the fullest window of each length."""
        rows = np.arange(1, self.starts.shape[1] + 1) - self.starts
        return np.asarray(rows.max(axis=1, initial=0), np.intp)


def rolling_correlations(
    values: Floats, pairs: Indices, windows: Windows, *, min_rows: int, first: int = 0, threads: int = 1
) -> NDArray[np.float32]:
    """Pearson's correlation of each pair in each window, over the rows where both are known.

    Args:
        values: (columns, rows), NaN where unknown.
        pairs: (pairs, 2) columns to compare; any pairs, in any order.
        windows: of the same rows.
        min_rows: fewer rows with both known make no correlation.
        first: rows before this one are known already and are not returned.
        threads: chunks of rows computed side by side.

    Returns:
        (windows, pairs, rows - first); NaN where the window is not full, has too few rows, or where one of the two
        columns does not move. Values are the same to the bit whatever `first` is and whatever rows follow.
    """
    num_rows = values.shape[1]
    found = np.empty((len(windows.starts), len(pairs), num_rows - first), np.float32)

    def fill(task: tuple[int, int]) -> None:
        begin, batch = task
        some = slice(batch, batch + BATCH)
        columns, where = np.unique(pairs[some], return_inverse=True)
        chunk = _Chunk.cut(values, columns, windows, begin, first=first, min_rows=min_rows)
        here = slice(chunk.first - first, chunk.last - first)
        chunk.correlate_all(where.reshape(-1, 2), found[:, some, here])

    begins, batches = range(first - first % CHUNK, num_rows, CHUNK), range(0, len(pairs), BATCH)
    with ThreadPoolExecutor(threads) as pool:
        deque(pool.map(fill, product(begins, batches)), maxlen=0)
    return found


@dataclass(frozen=True)
class _Chunk:
    """Some rows, and the earlier ones that their windows reach."""

    first: int
    """First row to compute."""
    last: int
    """The row after the last one."""
    known: NDArray[np.bool_]
    """(columns, length)"""
    values: Floats
    """(columns, length) centred, 0 where unknown."""
    starts: Indices
    """(windows, last - first) first row inside, counted from the chunk's own first row."""
    ends: slice
    """Of the rows to compute, in an array of prefix sums."""
    usable: NDArray[np.bool_]
    """(windows, last - first)"""
    min_rows: int

    @classmethod
    def cut(
        cls, values: Floats, columns: Indices, windows: Windows, begin: int, *, first: int, min_rows: int
    ) -> "_Chunk":
        base, last = int(windows.starts[:, begin].min()), min(begin + CHUNK, values.shape[1])
        first = max(begin, first)
        part = values[columns, base:last]
        known = np.isfinite(part)
        return cls(
            first=first,
            last=last,
            known=known,
            values=np.where(known, part - _centre(part[:, : begin - base + 1]), 0.0),
            starts=windows.starts[:, first:last] - base,
            ends=slice(first - base + 1, last - base + 1),
            usable=windows.full[:, first:last],
            min_rows=min_rows,
        )

    def correlate_all(self, pairs: Indices, found: NDArray[np.float32]) -> None:
        """Fill `found`, (windows, pairs, rows)."""
        patterns = np.packbits(self.known, axis=1)
        of_column = _number_equal(row.tobytes() for row in patterns)
        # Columns that are known on the same rows become neighbours, which numpy reads without copies.
        order = np.argsort(of_column, kind="stable")
        ordered = replace(self, known=self.known[order], values=self.values[order])
        for group in _by_common_rows(patterns, pairs):
            for window, chosen, correlations in ordered._correlate(np.argsort(order)[pairs[group]]):
                found[window, _as_slice(group[chosen])] = correlations
        np.clip(found, -1, 1, out=found)

    def _correlate(self, pairs: Indices) -> Iterator[tuple[int, Indices, Floats]]:
        """The correlations of pairs that are known on the same rows: window, which pairs, and their values."""
        columns, where = np.unique(pairs, return_inverse=True)
        where = where.reshape(pairs.shape)
        mask = self.known[pairs[0, 0]] & self.known[pairs[0, 1]]
        values = self.values[columns] * mask
        moments = self._moments(values, mask)
        # Room that is used again and again: new memory would cost more than the sums.
        sums = np.zeros((len(columns), values.shape[1] + 1))
        room = np.empty((2, len(columns), self.last - self.first))
        for left in np.unique(where[:, 0]):
            chosen = np.flatnonzero(where[:, 0] == left)
            right, num = _as_slice(where[chosen, 1]), len(chosen)
            prefix, found, other = sums[:num], room[0, :num], room[1, :num]
            np.multiply(values[left], values[right], out=prefix[:, 1:])
            np.cumsum(prefix[:, 1:], axis=1, out=prefix[:, 1:])
            for window, (total, mean, scale) in enumerate(moments):
                self._inside(prefix, window, found)
                found -= np.multiply(total[left], mean[right], out=other)
                found *= scale[left]
                found *= scale[right]
                yield window, chosen, found

    def _moments(self, values: Floats, mask: NDArray[np.bool_]) -> list[tuple[Floats, Floats, Floats]]:
        """Per window: sums, means and 1 / root of the summed squared deviations, each (columns, rows)."""
        counts, totals, squares = (_prefix(one) for one in (mask[None].astype(float), values, values * values))
        found = []
        for window, usable in enumerate(self.usable):
            count, total = self._inside(counts, window), self._inside(totals, window)
            mean = total * (1 / np.maximum(count, 1))
            spread = self._inside(squares, window) - total * mean
            least = np.where(usable & (count >= self.min_rows), FLAT * squares[:, self.ends], np.inf)
            found.append((total, mean, 1 / np.sqrt(np.where(spread > least, spread, np.nan))))
        return found

    def _inside(self, prefix: Floats, window: int, out: Floats | None = None) -> Floats:
        """Sums over one window of each row."""
        found: Floats = prefix.take(self.starts[window], axis=1, out=out, mode="clip")
        np.subtract(prefix[:, self.ends], found, out=found)
        return found


def _by_common_rows(patterns: NDArray[np.uint8], pairs: Indices) -> list[Indices]:
    """Pairs that are known on the same rows: they share counts, means and deviations.

    Args:
        patterns: (columns, bytes) the rows on which each column is known, as bits.
        pairs: (pairs, 2) columns.
    """
    group = _number_equal((patterns[left] & patterns[right]).tobytes() for left, right in pairs)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _number_equal(values: Iterable[bytes]) -> Indices:
    """(values,) numbers from 0 in order of appearance, the same for equal values."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.intp)


def _as_slice(indices: Indices) -> slice | Indices:
    """Neighbours as a slice, which numpy reads without a copy."""
    first, last = int(indices[0]), int(indices[-1])
    neighbours = last - first == len(indices) - 1 and bool((np.diff(indices) == 1).all())
    return slice(first, last + 1) if neighbours else indices


def _centre(values: Floats) -> Floats:
    """(columns, 1) the mean of what is known; 0 where nothing is."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=1, keepdims=True)
    centre: Floats = total / np.maximum(known.sum(axis=1, keepdims=True), 1)
    return centre


def _prefix(values: Floats) -> Floats:
    """(columns, length + 1) sums of everything before each position."""
    found = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=found[:, 1:])
    return found
