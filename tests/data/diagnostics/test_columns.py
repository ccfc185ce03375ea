"""Columns that say little."""

import numpy as np
import pytest

from raytrain.data.diagnostics.columns import constant, duplicates, ended, missing

NAN = np.nan
ONE_SERIES = np.zeros(5000, dtype=np.int32)


def rising(num: int = 5000) -> np.ndarray:
    return np.arange(num, dtype=np.float64)


def test_missing_counts_a_share_and_only_notes_what_no_model_sees() -> None:
    columns = {
        "half": np.array([1.0, NAN, 2.0, NAN]),
        "most": np.array([1.0, NAN, NAN, NAN]),
        "other": np.array([NAN, NAN, NAN, 1.0]),
    }

    found = missing(columns, {"half", "most"}, 0.5)

    assert [(one.column, one.level, one.value) for one in found] == [("most", "warning", 0.75), ("other", "note", 0.75)]


@pytest.mark.parametrize("tail", [0, 3, 4, 40])
def test_a_feed_has_ended_when_its_tail_is_longer_than_allowed(tail: int) -> None:
    values = rising()
    values[len(values) - tail :] = NAN

    found = ended({"feed": values}, ONE_SERIES, (), 3)

    assert [one.value for one in found] == ([tail] if tail > 3 else [])


def test_an_ended_feed_is_found_in_one_series_of_several_and_never_known_is_not_ended() -> None:
    series = np.repeat(np.arange(3, dtype=np.int32), 10)
    values = rising(30)
    values[13:20] = NAN
    values[20:] = NAN

    found = ended({"feed": values, "never": np.full(30, NAN)}, series, {"feed"}, 5)

    assert [(one.column, one.value, one.level) for one in found] == [("feed", 7, "warning")]


def test_constant_columns_are_found_where_known_and_not_where_one_row_differs() -> None:
    once = np.full(5000, 7.0)
    once[4321] = 8.0
    holes = np.full(5000, 7.0)
    holes[::2] = NAN

    found = constant({"flat": np.full(5000, 7.0), "holes": holes, "once": once, "never": np.full(5000, NAN)}, {"flat"})

    assert [(one.column, one.level, one.value) for one in found] == [("flat", "warning", 7.0), ("holes", "note", 7.0)]


def test_duplicates_are_equal_on_every_row_unknown_ones_included() -> None:
    holes = rising()
    holes[10] = NAN
    almost = rising()
    almost[4322] += 1e-9

    found = duplicates(
        {"first": rising(), "twin": rising(), "almost": almost, "holes": holes, "holes_twin": holes.copy()},
        {"twin"},
    )

    assert [(one.column, one.level) for one in found] == [("twin", "warning"), ("holes_twin", "note")]
    assert "equal to `first`" in found[0].message


def test_constant_twins_are_left_to_the_check_of_constants() -> None:
    assert not duplicates({"one": np.ones(100), "two": np.ones(100)}, ())
