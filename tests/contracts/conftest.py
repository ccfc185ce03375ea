"""A forecasting problem with a planted signal, in the form that a family wants it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Samples, Task
from raytrain.features.history import Ahead, History, PricePath
from raytrain.features.windows import Windows

DAY = 86_400 * 10**9
FEATURES = 6
KNOWN = (4, 5)
RETURN_SCALE = 0.01
LEVELS = (0.1, 0.5, 0.9)
MEMBERS = 3
# How long the spread of the price path stays large or small, for families that read it.
CALM = 100


@dataclass(frozen=True)
class LazyWindows(Windows):
    """Windows that are never made more than `most` at once."""

    most: int = 0

    def __getitem__(self, rows: Any, /) -> FloatArray:
        made = super().__getitem__(rows)
        assert not self.most or len(made) <= self.most, "a family must not make all windows at once"
        return made


@dataclass(frozen=True)
class Inputs:
    """All rows of a problem; a family is given some of them."""

    kind: str
    table: FloatArray
    steps: int
    most: int
    path: PricePath
    forecasts: FloatArray

    def of(self, rows: np.ndarray) -> Samples:
        """The chosen rows as the family wants them."""
        if self.kind == "members":
            return self.forecasts[rows]
        if self.kind == "rows":
            return self.table[rows]
        windows = LazyWindows(self.table, rows, self.steps, None, self.most)
        if self.kind == "windows":
            return windows
        ahead = Ahead(np.tile(self.table[:, KNOWN], (2, 1)), np.arange(len(self.table)))
        return History(windows, self.path, ahead)


@dataclass(frozen=True)
class Problem:
    """Training rows, and later rows to predict."""

    data: FitData
    x_test: Samples
    y_test: FloatArray
    inputs: Inputs
    train: np.ndarray
    test: np.ndarray

    def weighted(self, weight: FloatArray) -> FitData:
        """The training rows with other weights."""
        return replace(self.data, weight=weight.astype(np.float32))

    def only(self, rows: np.ndarray) -> FitData:
        """Some of the training rows."""
        fields = {name: getattr(self.data, name)[rows] for name in ("y", "weight", "date", "label_date", "series")}
        return FitData(x=self.inputs.of(self.train[rows]), **fields)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that another process needs to make the same problem."""
        rows = {name: getattr(self.data, name) for name in ("y", "weight", "date", "label_date", "series")}
        inputs = {name: getattr(self.inputs, name) for name in ("kind", "table", "steps", "most", "forecasts")}
        path = {f"path_{name}": value for name, value in vars(self.inputs.path).items()}
        return rows | inputs | path | {"train": self.train, "test": self.test}


Make = Callable[..., Problem]


def context(**given: Any) -> FitContext:
    """What a fit of a problem is told."""
    names = tuple(f"f{column}" for column in range(FEATURES))
    return FitContext(**{"quantiles": LEVELS, "features": names, "known": KNOWN} | given)


def make_problem(
    family: type[Family[Any]],
    params: Any,
    task: Task = "regression",
    *,
    dates: int = 500,
    nan: bool = False,
) -> Problem:
    """Two series of `dates` days; the first feature moves the target's middle, the second its spread.

    For families that read the path of prices, the spread follows the path instead: calm and wild months take turns.
    """
    rng = np.random.default_rng(7)
    num_rows, steps = 2 * dates, family.steps(params)
    table = rng.standard_normal((num_rows, FEATURES), dtype=np.float32)
    noise = rng.standard_normal(num_rows)
    if family.inputs == "history":
        wild = np.arange(num_rows) // CALM % 2 == 1
        y = (0.3 * table[:, 0] + np.where(wild, 2.0, 0.25) * noise).astype(np.float32)[:, None]
    else:
        y = (table[:, 0] + (0.4 + 0.3 * (table[:, 1] > 0)) * noise).astype(np.float32)[:, None]
    scale = 1.0 if family.scaled else RETURN_SCALE
    path = _path(y[:, 0] * scale, dates)
    forecasts = _forecasts(table, rng, task)
    y = (y > 0).astype(np.float32) if task == "binary" else y * np.float32(scale)
    forecasts = forecasts if task == "binary" else forecasts * np.float32(scale)
    if nan:
        table[rng.random(table.shape) < 0.1] = np.nan
        table[-1] = np.nan
    inputs = Inputs(family.inputs, table, steps, getattr(params, "batch_size", 0), path, forecasts)
    day = np.tile(np.arange(dates) * DAY, 2)
    whole = day >= (steps - 1) * DAY
    train, test = (np.flatnonzero(whole & side) for side in (day < 0.8 * dates * DAY, day >= 0.8 * dates * DAY))
    data = FitData(
        x=inputs.of(train),
        y=y[train],
        weight=np.ones(len(train), dtype=np.float32),
        date=day[train],
        label_date=day[train] + DAY,
        series=path.series[train],
    )
    return Problem(data, inputs.of(test), y[test], inputs, train, test)


def _path(y: np.ndarray, dates: int) -> PricePath:
    """The path whose next change is each row's target."""
    change = np.concatenate([[np.nan], y[:-1].astype(np.float64)])
    change[dates] = np.nan
    unknown = np.full(2 * dates, np.nan)
    return PricePath(change, unknown, unknown, np.repeat([0, 1], dates).astype(np.int32))


def _forecasts(table: FloatArray, rng: np.random.Generator, task: Task) -> FloatArray:
    """(rows, members, levels): each member sees the middle through noise of its own, the last one sees nothing."""
    seen = table[:, :1] + rng.standard_normal((len(table), MEMBERS)) * [0.3, 0.6, 1.0]
    seen[:, -1] = rng.standard_normal(len(table))
    if task == "binary":
        return (1 / (1 + np.exp(-2 * seen)))[..., None].astype(np.float32)
    return (seen[..., None] + [-0.7, 0.0, 0.7]).astype(np.float32)


@pytest.fixture(scope="session")
def problem() -> Make:
    """Makes a problem for a family; see `make_problem`."""
    return make_problem
