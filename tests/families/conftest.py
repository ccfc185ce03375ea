"""Training rows for tests of one family."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitData
from raytrain.features.history import Ahead, History, PricePath
from raytrain.features.windows import Windows

DAY = 86_400 * 10**9


@pytest.fixture
def make_data() -> Callable[..., FitData]:
    """Makes one series of `rows` days with three features; `y`, unless given, follows the first."""

    def make(rows: int = 300, y: np.ndarray | None = None, weight: np.ndarray | None = None) -> FitData:
        rng = np.random.default_rng(3)
        x = rng.standard_normal((rows, 3), dtype=np.float32)
        target = x[:, 0] + rng.standard_normal(rows) if y is None else y
        date = np.arange(rows) * DAY
        return FitData(
            x=x,
            y=np.asarray(target, dtype=np.float32)[:, None],
            weight=np.ones(rows, dtype=np.float32) if weight is None else weight.astype(np.float32),
            date=date,
            label_date=date + DAY,
            series=np.zeros(rows, dtype=np.int32),
        )

    return make


@pytest.fixture
def make_history() -> Callable[..., History]:
    """Makes all rows of a path of prices, given the changes of each series."""

    def make(*changes: np.ndarray) -> History:
        lengths = [len(change) for change in changes]
        change, rows = np.concatenate(changes), np.arange(sum(lengths))
        change[np.cumsum([0, *lengths[:-1]])] = np.nan
        series = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
        unknown = np.full(len(rows), np.nan)
        windows = Windows(np.zeros((len(rows), 1), dtype=np.float32), rows, 1)
        return History(windows, PricePath(change, unknown, unknown, series), Ahead(np.zeros((len(rows), 0)), rows))

    return make


@pytest.fixture
def teach() -> Callable[..., FitData]:
    """Makes the training rows of a history: those of `among` whose targets, `horizons` rows ahead, are known."""

    def make(
        history: History, among: np.ndarray, horizons: tuple[int, ...] = (1,), weight: np.ndarray | None = None
    ) -> FitData:
        path, far = history.path, max(horizons)
        known = (among + far < len(path.series)) & (
            path.series[np.minimum(among + far, len(history) - 1)] == path.series[among]
        )
        rows = among[known]
        ahead = path.change[rows[:, None] + np.arange(1, far + 1)].cumsum(axis=1)
        return FitData(
            x=replace(history, windows=replace(history.windows, ends=rows)),
            y=ahead[:, np.array(horizons) - 1].astype(np.float32),
            weight=np.ones(len(rows), dtype=np.float32) if weight is None else weight[known].astype(np.float32),
            date=rows * DAY,
            label_date=(rows + far) * DAY,
            series=path.series[rows],
        )

    return make
