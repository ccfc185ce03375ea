"""A panel of two unequal series whose price goes up and down, with gaps beside it, and every step there is."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import make_frame
from raytrain.features.build import FeaturesConfig

MakeFrame = Callable[..., Frame]


def _series(name: str, rows: int, seed: int, first: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
    other = rng.normal(50, 5, rows)
    other[rng.random(rows) < 0.05] = np.nan
    days = [datetime(2020, 1, 1) + timedelta(days=first + i) for i in range(rows)]
    shares = np.sort(rng.uniform(0.97, 1.03, (rows, 2)), axis=1)
    return pl.DataFrame(
        {
            "series_id": name,
            "date": days,
            "close": close,
            "high": close * np.maximum(shares[:, 1], 1),
            "low": close * np.minimum(shares[:, 0], 1),
            "open": close * rng.uniform(shares[:, 0], shares[:, 1]),
            "other": other,
            "event": [float(day.day == 12) for day in days],
            "mood": [None if i % 17 == 5 else ("calm", "wild", "odd")[i // 7 % 3] for i in range(rows)],
        }
    )


EXAMPLES: dict[str, dict[str, Any]] = {
    "as_is": {"columns": ["other"]},
    "lag": {"columns": ["close", "other"], "rows": [1, 3]},
    "log_return": {"rows": [1, 5]},
    "difference": {"columns": ["other"], "rows": [1, 5]},
    "spread": {"left": "close", "right": "other", "kind": "ratio", "zscore_rows": [5]},
    "correlation": {"pairs": [["close", "other"]], "change": "difference", "rows": [20]},
    "rolling_mean": {"columns": ["close", "other"], "rows": [5, 10]},
    "rolling_std": {"columns": ["close", "other"], "rows": [5, 10]},
    "zscore": {"columns": ["close", "other"], "rows": [5, 10]},
    "bollinger": {"columns": ["close", "other"], "rows": [5, 10]},
    "volatility": {"rows": [5, 10]},
    "ewma_volatility": {"half_life": [4, 9]},
    "realised_volatility": {"method": "garman_klass", "rows": [5, 10]},
    "garch": {"refit": "1mo", "min_rows": 100},
    "atr": {"rows": 6},
    "rsi": {"rows": 6},
    "macd": {"fast": 3, "slow": 6, "signal": 4},
    "calendar": {"extra": ["week", "quarter", "day_of_year", "days_to_month_end"]},
    "days_to": {"column": "event", "dates": [f"2020-{month:02}-12" for month in range(1, 13)]},
    "regime": {"column": "mood", "categories": ["wild", "calm"]},
}


@pytest.fixture(scope="session")
def examples() -> dict[str, dict[str, Any]]:
    """Step -> fields that fit the panel."""
    return EXAMPLES


@pytest.fixture(scope="session")
def every_step() -> FeaturesConfig:
    """All steps, and a categorical column."""
    return FeaturesConfig.model_validate(
        {
            "steps": [{"step": name, **fields} for name, fields in EXAMPLES.items()],
            "categorical": ["mood"],
            "known": ["calendar", "event"],
        }
    )


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
