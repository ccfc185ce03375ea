"""Flags of declared categories."""

from collections.abc import Callable

import numpy as np
import pytest

from raytrain.data import Frame

Compute = Callable[..., dict[str, np.ndarray]]


def test_one_flag_per_declared_category(one_series: Callable[..., Frame], compute: Compute) -> None:
    frame = one_series(mood=["calm", "wild", None, "new", "calm"])
    found = compute(frame, step="regime", column="mood", categories=["wild", "calm"])
    assert list(found) == ["mood_is_wild", "mood_is_calm"]
    np.testing.assert_array_equal(found["mood_is_wild"], [0, 1, np.nan, 0, 0])
    np.testing.assert_array_equal(found["mood_is_calm"], [1, 0, np.nan, 0, 1])


def test_whole_numbers_are_written_without_a_point(one_series: Callable[..., Frame], compute: Compute) -> None:
    frame = one_series(month=[3.0, 12.0, float("nan")])
    found = compute(frame, step="regime", column="month", categories=["12"])
    np.testing.assert_array_equal(found["month_is_12"], [0, 1, np.nan])


@pytest.mark.parametrize("values", [["calm", "wild"], ["wild", "calm"], ["other", "another"]])
def test_the_data_does_not_choose_the_columns(
    values: list[str], one_series: Callable[..., Frame], compute: Compute
) -> None:
    found = compute(one_series(mood=values), step="regime", column="mood", categories=["calm", "wild"])
    assert list(found) == ["mood_is_calm", "mood_is_wild"]
