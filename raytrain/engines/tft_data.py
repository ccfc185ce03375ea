"""What the temporal fusion transformer reads: past and future of a row in one array, made a batch at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FitContext, FloatArray, RowIndices
from raytrain.errors import FitError
from raytrain.features.history import History, PricePath

_LARGEST_CHANGE = 10.0
"""Scaled changes are kept within this, as features are."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The columns and steps of a sequence.

    Its columns are the features, the change behind each row over each horizon, the relative time and the series. Its
    steps are those of the window and then one for each row of `ahead`, where only the features known in advance, the
    time and the series are filled in.
    """

    num_features: int
    window: int
    """Rows up to the one that is predicted from."""
    horizons: tuple[int, ...]
    """Rows ahead of each output."""
    ahead: tuple[int, ...]
    """Rows ahead of each step of the future, rising; every horizon is one of them."""
    known: tuple[int, ...]
    """Feature columns known in advance."""
    change_scale: tuple[float, ...]
    """Deviation of the change over each horizon in the training rows; changes are divided by it."""
    series: tuple[int, ...]
    """The series of the training rows; they are counted from 1, and 0 stands for any other."""

    @classmethod
    def of(cls, x: History, rows: RowIndices, context: FitContext, window: int, num_ahead: int) -> Self:
        """What the training rows ask for.

        Args:
            rows: to learn from.
            num_ahead: steps of the future, at most, beside the horizons themselves.

        Raises:
            FitError: two outputs have the same horizon.
        """
        if len(set(context.horizons)) < len(context.horizons):
            raise FitError(
                f"one forecast is made for each row ahead, but the outputs lie {context.horizons} rows ahead; fit "
                "targets of one horizon separately"
            )
        change = trailing_changes(x.path, context.horizons)[x.ends[rows]]
        return cls(
            num_features=x.shape[2],
            window=window,
            horizons=context.horizons,
            ahead=rows_ahead(context.horizons, num_ahead),
            known=context.known,
            change_scale=tuple(float(scale) or 1.0 for scale in change.std(axis=0)),
            series=tuple(int(series) for series in np.unique(x.series[rows])),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild what `dataclasses.asdict` gave, after JSON has made lists of its tuples."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**fields)

    @property
    def time_column(self) -> int:
        """Where the relative time stands: 0 on the row that is predicted from, -1 a window before."""
        return self.num_features + len(self.horizons)

    @property
    def series_column(self) -> int:
        """Where the series stands, on every step."""
        return self.time_column + 1

    @property
    def num_columns(self) -> int:
        """Width of a sequence."""
        return self.series_column + 1

    @property
    def outputs(self) -> tuple[int, ...]:
        """Which step of the future each output is read from."""
        return tuple(self.ahead.index(horizon) for horizon in self.horizons)


def rows_ahead(horizons: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Every row up to the longest horizon, or about `most` evenly spread ones when it is longer; all horizons are in.

    >>> rows_ahead((1, 5), 20)
    (1, 2, 3, 4, 5)
    >>> rows_ahead((3, 20), 5)
    (3, 4, 8, 12, 16, 20)
    """
    longest = max(horizons)
    count = min(longest, most)
    spread = (round(longest * step / count) for step in range(1, count + 1))
    return tuple(sorted({*spread, *horizons}))


def trailing_changes(path: PricePath, horizons: tuple[int, ...]) -> NDArray[np.float64]:
    """(rows, horizons) the sum of the last h changes, as far as the series reaches back; unknown ones count 0.

    Added up row by row and never as a difference of running totals, in which later rows of another series would leave
    their rounding errors.
    """
    rows, first = np.arange(len(path.change)), path.starts()
    change = np.nan_to_num(path.change, nan=0.0)
    total = np.zeros((len(rows), len(horizons)))
    for lag in range(max(horizons)):
        inside = rows - lag > first  # the first row of a series has no change
        wanted = np.flatnonzero(np.array(horizons) > lag)
        total[np.ix_(inside, wanted)] += change[rows[inside] - lag][:, None]
    return total


@dataclass(frozen=True)
class Sequences:
    """Sequences (n, steps, columns) of chosen rows; see `Layout`."""

    x: History
    layout: Layout

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, steps, columns)."""
        return len(self.x), self.layout.window + len(self.layout.ahead), self.layout.num_columns

    def __getitem__(self, rows: Any, /) -> FloatArray:
        """The chosen sequences as a new array (k, steps, columns)."""
        layout, ends = self.layout, self.x.ends[rows]
        num_past, time, window = layout.window, layout.time_column, np.arange(1 - layout.window, 1)
        made = np.zeros((len(ends), *self.shape[1:]), dtype=np.float32)
        made[:, :num_past, : layout.num_features] = self.x[rows]
        made[:, :num_past, layout.num_features : time] = self._changes[ends[:, None] + window]
        made[:, :, time] = np.array([*window, *layout.ahead]) / num_past
        made[:, :, layout.series_column] = self._series_codes(rows)[:, None]
        if layout.known:
            future = self.x.ahead(rows, layout.ahead[-1], layout.known)
            made[:, num_past:, list(layout.known)] = future[:, np.array(layout.ahead) - 1]
        return made

    @cached_property
    def _changes(self) -> FloatArray:
        """(rows of the table, horizons)."""
        scaled = trailing_changes(self.x.path, self.layout.horizons) / self.layout.change_scale
        return np.clip(scaled, -_LARGEST_CHANGE, _LARGEST_CHANGE).astype(np.float32)

    def _series_codes(self, rows: Any) -> NDArray[np.int64]:
        series, known = self.x.series[rows], np.array(self.layout.series)
        place = np.searchsorted(known, series).clip(max=len(known) - 1)
        return np.where(known[place] == series, place + 1, 0)
