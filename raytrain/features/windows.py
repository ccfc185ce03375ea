"""Look-back windows made on demand from one table, never as a copy of the whole set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.features.preprocess import Preprocess

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Windows (n, steps, features) that end on the rows `ends` of `table`.

    The rows of a window must lie in one series; `ends_with_history` finds the rows for which they do.
    """

    table: FloatArray
    """(rows, features), series after series, dates rising; may be mapped from disk, and is only read."""
    ends: NDArray[np.int64]
    steps: int
    preprocess: Preprocess | None = None
    """Applied to the windows on their way out, so that no process keeps a transformed table of its own."""

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, rows: Any, /) -> FloatArray:
        """The chosen windows as a new array (k, steps, features)."""
        ends = self.ends[rows]
        windows: FloatArray = self.table[ends[..., None] + np.arange(1 - self.steps, 1)]
        return windows if self.preprocess is None else self.preprocess.apply_in_place(windows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, steps, features)."""
        return len(self.ends), self.steps, self.table.shape[1]


def ends_with_history(series: NDArray[Any], steps: int) -> NDArray[np.bool_]:
    """(rows,) True where the `steps` rows up to this one belong to one series."""
    enough = np.zeros(len(series), dtype=bool)
    if steps <= len(series):
        enough[steps - 1 :] = series[steps - 1 :] == series[: len(series) - steps + 1]
    return enough
