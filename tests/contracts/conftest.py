"""A forecasting problem with a planted signal, in the form that a family wants it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from raytrain.engines.base import Family, FitData, FloatArray, Samples, Task

DAY = 86_400 * 10**9
FEATURES = 6
RETURN_SCALE = 0.01


class Windows:
    """Windows that are made when they are asked for, and never more than `most` at once."""

    def __init__(self, table: FloatArray, ends: np.ndarray, steps: int, most: int) -> None:
        self._table, self._ends, self._steps, self._most = table, ends, steps, most
        self.shape = (len(ends), steps, table.shape[1])

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, rows: np.ndarray) -> FloatArray:
        ends = self._ends[rows]
        assert len(ends) <= self._most, "a family must not make all windows at once"
        return self._table[ends[:, None] + np.arange(1 - self._steps, 1)]

    def chosen(self, rows: np.ndarray) -> "Windows":
        """Some of the windows, still not made."""
        return Windows(self._table, self._ends[rows], self._steps, self._most)


@dataclass(frozen=True)
class Problem:
    """Training rows, and later rows to predict."""

    data: FitData
    x_test: Samples
    y_test: FloatArray

    def weighted(self, weight: FloatArray) -> FitData:
        """The training rows with other weights."""
        return replace(self.data, weight=weight.astype(np.float32))

    def only(self, rows: np.ndarray) -> FitData:
        """Some of the training rows."""
        fields = {name: getattr(self.data, name)[rows] for name in ("y", "weight", "date", "label_date")}
        x = self.data.x
        return FitData(x=x.chosen(rows) if isinstance(x, Windows) else x[rows], **fields)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, all windows made."""
        return {**vars(self.data), "x": whole(self.data.x), "x_test": whole(self.x_test)}


def whole(x: Samples) -> FloatArray:
    """All rows, made one at a time."""
    return np.concatenate([x[np.array([row])] for row in range(len(x))])


Make = Callable[..., Problem]


@pytest.fixture(scope="session")
def problem() -> Make:
    """Makes two series of `dates` days; the first feature moves the target's middle, the second its spread."""

    def make(
        family: type[Family], params: object, task: Task = "regression", *, dates: int = 500, nan: bool = False
    ) -> Problem:
        rng = np.random.default_rng(7)
        steps, batch = family.steps(params), getattr(params, "batch_size", 0)  # type: ignore[arg-type]
        table = rng.standard_normal((2 * dates, FEATURES), dtype=np.float32)
        spread = 0.4 + 0.3 * (table[:, 1] > 0)
        y = (table[:, 0] + spread * rng.standard_normal(2 * dates)).astype(np.float32)[:, None]
        y = (y > 0).astype(np.float32) if task == "binary" else y if family.scaled else y * np.float32(RETURN_SCALE)
        if nan:
            table[rng.random(table.shape) < 0.1] = np.nan
            table[-1] = np.nan
        day = np.tile(np.arange(dates) * DAY, 2)
        whole = day >= (steps - 1) * DAY
        train, test = (np.flatnonzero(whole & side) for side in (day < 0.8 * dates * DAY, day >= 0.8 * dates * DAY))

        def inputs(rows: np.ndarray) -> Samples:
            return Windows(table, rows, steps, batch) if family.inputs == "windows" else table[rows]

        data = FitData(
            x=inputs(train),
            y=y[train],
            weight=np.ones(len(train), dtype=np.float32),
            date=day[train],
            label_date=day[train] + DAY,
        )
        return Problem(data, inputs(test), y[test])

    return make
