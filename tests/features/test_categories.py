"""Labels and codes of categories."""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from raytrain.data import Frame
from raytrain.errors import DataError
from raytrain.features.build import FeaturesConfig, build

AsFrame = Callable[..., Frame]


def frame_with(as_frame: AsFrame, values: list[str | None] | list[float | None], **more: object) -> Frame:
    days = [datetime(2020, 1, 1) + timedelta(days=i) for i in range(len(values))]
    return as_frame(pl.DataFrame({"date": days, "close": 1.0, "kind": values, **more}))


def codes_of(frame: Frame) -> tuple[list[float], tuple[str, ...]]:
    found = build(frame, FeaturesConfig(steps=(), categorical=("kind",)))
    assert found.names == ("kind",)
    return found.x[:, 0].tolist(), found.categories["kind"]


def test_codes_count_from_the_first_appearance(as_frame: AsFrame) -> None:
    frame = frame_with(as_frame, ["low", "low", None, "high", "low", "mid"])
    assert codes_of(frame) == ([1, 1, 0, 2, 1, 3], ("low", "high", "mid"))


def test_whole_numbers_are_categories_too(as_frame: AsFrame) -> None:
    frame = frame_with(as_frame, [12.0, float("nan"), 3.0, 12.0])
    assert codes_of(frame) == ([1, 0, 2, 1], ("12", "3"))


def test_categories_of_one_date_are_ordered_by_name(as_frame: AsFrame) -> None:
    days = [datetime(2020, 1, 1)] * 2 + [datetime(2020, 1, 2)] * 2
    table = pl.DataFrame({"series_id": ["B", "A", "B", "A"], "date": days, "close": 1.0, "kind": ["x", "y", "y", "a"]})
    codes, labels = codes_of(as_frame(table.sort("series_id", "date")))
    assert labels == ("x", "y", "a")
    assert codes == [2, 3, 1, 2]


def test_fractions_are_refused(as_frame: AsFrame) -> None:
    with pytest.raises(DataError, match=r"a column of text or whole numbers, got 2\.5 in `kind`"):
        codes_of(frame_with(as_frame, [1.0, 2.5]))


def test_codes_come_after_the_steps(frame: Frame) -> None:
    found = build(frame, FeaturesConfig(categorical=("mood",)))
    assert found.names[-1] == "mood"
    names = {0: None} | dict(enumerate(found.categories["mood"], 1))
    assert [names[code] for code in found.x[:, -1]] == frame.table["mood"].to_list()
    assert found.x.dtype == np.float32
