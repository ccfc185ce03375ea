"""Labels against a plain loop."""

import datetime

import numpy as np
import polars as pl
import pytest

from raytrain.data.frame import Frame
from raytrain.features.alignment import target_alignment
from raytrain.features.targets import TargetConfig, build_target

TARGETS = [
    *(TargetConfig(horizon=horizon) for horizon in (1, 5, 20)),
    *(TargetConfig(kind="threshold", horizon=horizon) for horizon in (1, 5, 20)),
    TargetConfig(horizon=5, method="simple"),
    TargetConfig(horizon=5, method="difference"),
]


def make(rows: int, name: str, seed: int) -> pl.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, rows)))
    dates = [datetime.datetime(2020, 1, 1) + datetime.timedelta(days=row) for row in range(rows)]
    return pl.DataFrame({"series_id": [name] * rows, "date": dates, "close": close, "high": close * 1.005})


@pytest.fixture
def two_series() -> Frame:
    return Frame(pl.concat([make(300, "A", 1), make(120, "B", 2)]), "close", "high", 252.0, "test")


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: f"{one.name}-{one.method}")
def test_labels_as_built_are_right(two_series: Frame, target: TargetConfig) -> None:
    assert not target_alignment(two_series, target, build_target(two_series, target))


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: f"{one.name}-{one.method}")
@pytest.mark.parametrize("shift", [-1, 1])
def test_labels_a_row_off_are_an_error(two_series: Frame, target: TargetConfig, shift: int) -> None:
    (found,) = target_alignment(two_series, target, build_target(two_series, target).select(pl.all().shift(shift)))

    assert (found.level, found.check, found.column) == ("error", "target_alignment", target.name)
    assert f"{target.horizon} rows later" in found.message


def test_labels_across_two_series_are_an_error(two_series: Frame) -> None:
    joined = Frame(two_series.table.with_columns(series_id=pl.lit("A")), "close", "high", 252.0, "test")
    target = TargetConfig(horizon=5)

    (found,) = target_alignment(two_series, target, build_target(joined, target))

    assert found.series == "A"
    assert found.threshold is None


def test_one_wrong_label_at_the_end_of_a_long_series_is_found() -> None:
    frame = Frame(make(20_000, "A", 3), "close", "high", 252.0, "test")
    target = TargetConfig(horizon=1)
    row = pl.int_range(pl.len())
    labels = build_target(frame, target).with_columns(y=pl.when(row == 19_998).then(0.5).otherwise("y"))

    (found,) = target_alignment(frame, target, labels)

    assert found.value == 0.5
