"""The changes of one series, ready to be compared."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data.frame import DATE, SERIES
from raytrain.features.correlations.rolling import Indices


@dataclass(frozen=True)
class SeriesChanges:
    """One series: a row of memory per column."""

    series: str
    names: Sequence[str]
    """Of the columns."""
    dates: NDArray[np.datetime64]
    """(rows,) rising."""
    values: NDArray[np.float64]
    """(columns, rows) changes, NaN where unknown."""
    regimes: pl.Series
    """(rows,) text, null where unknown."""

    @classmethod
    def of(cls, table: pl.DataFrame, names: Sequence[str]) -> Self:
        """From the rows of one series, with its changes and perhaps a column `regime`."""
        values = np.empty((len(names), table.height))
        for row, name in zip(values, names, strict=True):
            row[:] = table[name].fill_null(float("nan")).to_numpy()
        regimes = table.get_column("regime", default=pl.repeat(None, table.height, dtype=pl.String, eager=True))
        return cls(table[SERIES][0], names, table[DATE].to_numpy(), values, regimes)

    def rows(self, mask: NDArray[np.bool_]) -> Self:
        """Some of the rows."""
        return replace(self, dates=self.dates[mask], values=self.values[:, mask], regimes=self.regimes.filter(mask))

    def indices(self, pairs: Iterable[tuple[str, str]]) -> Indices:
        """(pairs, 2) the columns of pairs that are given by name."""
        number = {name: index for index, name in enumerate(self.names)}
        return np.array([(number[left], number[right]) for left, right in pairs], np.intp).reshape(-1, 2)

    @property
    def constant(self) -> list[str]:
        """Columns of which something is known and that never change."""
        spans = ((name, row[np.isfinite(row)]) for name, row in zip(self.names, self.values, strict=True))
        return [name for name, known in spans if len(known) and np.ptp(known) == 0]
