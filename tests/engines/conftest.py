"""Training rows for tests of what families share."""

from collections.abc import Callable

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
        )

    return make
