"""Small tables with one thing wrong."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

MakeTable = Callable[..., pl.DataFrame]


@pytest.fixture
def make_table() -> MakeTable:
    """Business days with a random walk of 1 % a day; `moves` replaces returns by row."""

    def make(rows: int = 300, series: str = "A", seed: int = 5, moves: dict[int, float] | None = None) -> pl.DataFrame:
        returns = np.random.default_rng(seed).normal(0, 0.01, rows)
        for row, move in (moves or {}).items():
            returns[row] = move
        days = pl.datetime_range(pl.datetime(2015, 1, 1), pl.datetime(2035, 1, 1), "1d", eager=True)
        dates = days.filter(days.dt.weekday() <= 5).head(rows)
        return pl.DataFrame({"series_id": [series] * rows, "date": dates, "close": 100 * np.exp(np.cumsum(returns))})

    return make
