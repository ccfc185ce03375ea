"""What was known at a row beyond its own features: the path of prices behind it and the calendar ahead of it."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from raytrain.features.preprocess import Preprocess
from raytrain.features.windows import Windows

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class PricePath:
    """What prices did, row for row beside the feature table: series after series, dates rising."""

    change: NDArray[np.float64]
    """(rows,) change since the row before, in the target's method (log, simple or difference); NaN on the first row of
    a series."""
    range: NDArray[np.float64]
    """(rows,) from the lowest to the highest price of the row, in the same method; NaN where they are not known."""
    implied: NDArray[np.float64]
    """(rows,) deviation of one row's change that options imply; NaN where nobody quotes it."""
    series: NDArray[np.int32]
    """(rows,) which series the row belongs to."""

    def starts(self) -> NDArray[np.int64]:
        """(rows,) index of the first row of each row's series."""
        first = np.flatnonzero(np.diff(self.series, prepend=-1))
        return np.repeat(first, np.diff([*first, len(self.series)]))

    def shorter(self, rows: int) -> Self:
        """The path up to a row: what a fit may see when nothing after it has happened."""
        return type(self)(self.change[:rows], self.range[:rows], self.implied[:rows], self.series[:rows])


@dataclass(frozen=True)
class Ahead:
    """Features that are known in advance, also beyond the newest row of each series."""

    table: FloatArray
    """(rows and the future ones of each series, known features)."""
    at: NDArray[np.int64]
    """(rows,) where each row of the feature table stands in `table`; what follows there is its future."""

    def of(self, ends: NDArray[np.int64], steps: int) -> FloatArray:
        """(k, steps, known features) of the `steps` rows after each of the rows `ends`."""
        return np.asarray(self.table[self.at[ends][..., None] + np.arange(1, steps + 1)])


@dataclass(frozen=True)
class History:
    """Windows (n, steps, features) that end on chosen rows, with the path of prices and the calendar ahead.

    Only what lies at or before a row, in its own series, may be used to predict it: `path` holds later rows too.
    """

    windows: Windows
    path: PricePath
    known_ahead: Ahead

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, rows: Any, /) -> FloatArray:
        """The chosen windows as a new array (k, steps, features)."""
        return self.windows[rows]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, steps, features)."""
        return self.windows.shape

    @property
    def ends(self) -> NDArray[np.int64]:
        """(n,) the row of `path` on which each window ends: the newest that may be used for it."""
        return self.windows.ends

    @property
    def series(self) -> NDArray[np.int32]:
        """(n,) which series each window belongs to."""
        return self.path.series[self.ends]

    def ahead(self, rows: Any, steps: int, known: tuple[int, ...]) -> FloatArray:
        """The features known in advance, of the rows after the chosen windows, prepared as in the windows.

        Args:
            rows: which windows.
            steps: rows ahead; at most the longest horizon of the run.
            known: the feature columns known in advance (`FitContext.known`).

        Returns:
            (k, steps, known features).
        """
        values = self.known_ahead.of(self.ends[rows], steps)
        prepare: Preprocess | None = self.windows.preprocess
        return values if prepare is None else prepare.only(known).apply_in_place(values)
