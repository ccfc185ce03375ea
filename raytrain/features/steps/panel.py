"""The rows of a frame by series, cut into batches that are computed at once."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raytrain.data.frame import SERIES, Frame

Floats = NDArray[np.float64]
_BATCH_ROWS = 4096
"""Rows of short series that are computed side by side."""


@dataclass(frozen=True)
class Batch:
    """Series of about the same length, side by side."""

    starts: NDArray[np.intp]
    """(series,) the first row of each."""
    lengths: NDArray[np.intp]
    """(series,) rows of each, the longest first."""

    @property
    def shape(self) -> tuple[int, int]:
        """Series, and rows of the longest."""
        return len(self.starts), int(self.lengths[0])

    def take(self, column: Floats) -> Floats:
        """(series, longest) a column's values; behind its end a shorter series repeats its last one."""
        if len(self.starts) == 1:
            return column[None, self.starts[0] : self.starts[0] + self.lengths[0]]
        rows = np.minimum(np.arange(self.lengths[0]), self.lengths[:, None] - 1) + self.starts[:, None]
        return column[rows]

    def slices(self) -> list[slice]:
        """The rows of each series."""
        return _slices(self.starts, self.lengths)


@dataclass(frozen=True)
class Panel:
    """A frame and its series."""

    frame: Frame
    lengths: NDArray[np.intp]
    """(series,) rows of each, in the order of the frame."""
    _columns: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, frame: Frame) -> "Panel":
        """The frame, cut where the series changes."""
        name = frame.table[SERIES]
        edges = np.flatnonzero((name[1:] != name[:-1]).to_numpy()) + 1
        return cls(frame, np.diff(edges, prepend=0, append=len(name)))

    def column(self, name: str) -> Floats:
        """(rows,) a numeric column."""
        if name not in self._columns:
            self._columns[name] = self.frame.table[name].to_numpy()
        return self._columns[name]

    def slices(self) -> list[slice]:
        """The rows of each series."""
        return _slices(self._starts, self.lengths)

    def positions(self) -> NDArray[np.intp]:
        """(rows,) how many rows of the series lie before each row."""
        return np.arange(self.lengths.sum()) - np.repeat(self._starts, self.lengths)

    def batches(self) -> Iterator[Batch]:
        """All series, each once."""
        starts, order, first = self._starts, np.argsort(-self.lengths, kind="stable"), 0
        while first < len(order):
            longest = int(self.lengths[order[first]])
            some = order[first : first + max(1, _BATCH_ROWS // longest)]
            yield Batch(starts[some], self.lengths[some])
            first += len(some)

    @property
    def _starts(self) -> NDArray[np.intp]:
        """(series,) the first row of each."""
        return np.cumsum(self.lengths) - self.lengths


def _slices(starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> list[slice]:
    return [slice(start, start + rows) for start, rows in zip(starts.tolist(), lengths.tolist(), strict=True)]
