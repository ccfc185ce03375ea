"""How one step is built and computed over the panel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter

from raytrain.data import Frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.steps import AnyStep, Step

Columns = dict[str, np.ndarray]
MakeStep = Callable[..., Step]
Compute = Callable[..., Columns]


@pytest.fixture(scope="session")
def step() -> MakeStep:
    """A checked step from its fields."""
    return lambda **fields: TypeAdapter(AnyStep).validate_python(fields)


@pytest.fixture(scope="session")
def compute() -> Compute:
    """Feature -> its values, of one step given by its fields."""

    def make(frame: Frame, **fields: Any) -> Columns:
        found = build(frame, FeaturesConfig.model_validate({"steps": [fields], "known": ["calendar"]}))
        return {name: found.x[:, index] for index, name in enumerate(found.names)}

    return make


@pytest.fixture(scope="session")
def parts(frame: Frame) -> list[pl.DataFrame]:
    """The panel, series by series."""
    return frame.table.partition_by("series_id", maintain_order=True)


@pytest.fixture(scope="session")
def one_series(as_frame: Callable[[pl.DataFrame], Frame]) -> Callable[..., Frame]:
    """A daily series from 2020-01-01 with these columns; `close` is 10 when not given."""

    def make(**columns: Any) -> Frame:
        length = len(next(iter(columns.values())))
        days = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2030, 1, 1), "1d", eager=True).head(length)
        return as_frame(pl.DataFrame({"date": days, "close": np.full(length, 10.0)} | columns))

    return make
