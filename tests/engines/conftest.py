"""Training rows for tests of what families share."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitData

DAY = 86_400 * 10**9


@pytest.fixture
def rows() -> Callable[..., FitData]:
    """Makes two series of `dates` days with four features; `y` follows the first."""

    def make(dates: int = 60, horizon: int = 5, weight: float = 1.0, seed: int = 0) -> FitData:
        rng = np.random.default_rng(seed)
        date = np.tile(np.arange(dates) * DAY, 2)
        x = rng.standard_normal((len(date), 4), dtype=np.float32)
        noise = 0.5 * rng.standard_normal((len(date), 1), dtype=np.float32)
        return FitData(
            x=x,
            y=x[:, :1] + noise,
            weight=np.full(len(date), weight, dtype=np.float32),
            date=date,
            label_date=date + horizon * DAY,
            series=np.repeat([0, 1], dates).astype(np.int32),
        )

    return make


@pytest.fixture
def coded(rows: Callable[..., FitData]) -> Callable[..., FitData]:
    """Makes rows whose first feature is a code of 1 to 12, and whose target follows whether it is even."""

    def make(dates: int = 1200) -> FitData:
        data = rows(dates=dates)
        x = data.x.copy()
        x[:, 0] = np.random.default_rng(1).integers(1, 13, len(x))
        noise = 0.3 * np.random.default_rng(2).standard_normal(len(x))
        return replace(data, x=x, y=(x[:, :1] % 2 * 2 - 1 + noise[:, None]).astype(np.float32))

    return make
