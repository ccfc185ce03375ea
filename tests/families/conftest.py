"""Training rows for tests of one family."""

from collections.abc import Callable

import numpy as np
import pytest

from raytrain.engines.base import FitData

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
        )

    return make
