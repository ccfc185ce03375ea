"""Columns that move together, with gaps, and a frame of them."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import make_frame

Floats = NDArray[np.float64]


@pytest.fixture(scope="session")
def business_days() -> Callable[[int], NDArray[np.datetime64]]:
    """So many weekdays from 2015 on."""

    def make(num: int) -> NDArray[np.datetime64]:
        days = np.datetime64("2015-01-01") + np.arange(2 * num + 7)
        return days[np.is_busday(days)][:num].astype("datetime64[us]")

    return make


@pytest.fixture(scope="session")
def gappy() -> Callable[[int, int], Floats]:
    """(columns, rows): a common part, holidays that differ, and one column that begins late."""

    def make(columns: int, rows: int) -> Floats:
        rng = np.random.default_rng(7)
        values = rng.normal(size=(columns, rows)) + rng.normal(size=rows)
        for number in range(columns):
            values[number, rng.random(rows) < 0.05 * (number % 3)] = np.nan
        values[-1, : rows // 3] = np.nan
        return values

    return make


@pytest.fixture(scope="session")
def levels(business_days: Callable[[int], NDArray[np.datetime64]], gappy: Callable[[int, int], Floats]) -> pl.DataFrame:
    """Two series of 500 rows: four columns above 0, a spread around 0, a constant, a regime."""
    parts = []
    for series, shift in (("A", 0.0), ("B", 0.3)):
        moves = np.nan_to_num(gappy(5, 500)) * 0.01 + shift * 0.001
        paths = 100 * np.exp(np.cumsum(moves, axis=1))
        columns = {name: path for name, path in zip(("close", "oil", "corn", "gold"), paths, strict=False)}
        columns["oil"] = np.where(np.arange(500) % 40 == 3, np.nan, columns["oil"])
        columns |= {"spread": np.cumsum(moves[4]) * 10, "flat": np.full(500, 3.0)}
        mood = ["calm" if row // 50 % 2 else "wild" for row in range(500)]
        parts.append(pl.DataFrame({"series_id": series, "date": business_days(500), **columns, "mood": mood}))
    return pl.concat(parts)


@pytest.fixture(scope="session")
def as_frame() -> Callable[[pl.DataFrame], Frame]:
    """A checked frame from a table."""
    return lambda table: make_frame(table, DataConfig(), "the test", "test")


@pytest.fixture(scope="session")
def frame(levels: pl.DataFrame, as_frame: Callable[[pl.DataFrame], Frame]) -> Frame:
    """The two series, checked."""
    return as_frame(levels)
