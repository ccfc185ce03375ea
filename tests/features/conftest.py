"""A panel of two unequal series whose price goes up and down, with gaps beside it."""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import make_frame

MakeFrame = Callable[..., Frame]


def _series(name: str, rows: int, seed: int, first: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
    other = rng.normal(50, 5, rows)
    other[rng.random(rows) < 0.05] = np.nan
    days = [datetime(2020, 1, 1) + timedelta(days=first + i) for i in range(rows)]
    return pl.DataFrame({"series_id": name, "date": days, "close": close, "high": close * 1.01, "other": other})


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """Series A with 160 days and B with 120 that begins 30 days later."""
    return pl.concat([_series("A", 160, 1, 0), _series("B", 120, 2, 30)])


@pytest.fixture(scope="session")
def as_frame() -> MakeFrame:
    """A checked frame from a raw table."""

    def make(table: pl.DataFrame, **config: object) -> Frame:
        return make_frame(table, DataConfig.model_validate(config), "the test", "test")

    return make


@pytest.fixture(scope="session")
def frame(table: pl.DataFrame, as_frame: MakeFrame) -> Frame:
    """The panel, checked."""
    return as_frame(table, high="high")
