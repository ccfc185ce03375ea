"""Rows that should be there and are not."""

from collections.abc import Callable

import polars as pl
import pytest

from raytrain.data.diagnostics import DiagnosticsConfig
from raytrain.data.diagnostics.calendar import ended_series, gaps

CONFIG = DiagnosticsConfig()
MakeTable = Callable[..., pl.DataFrame]


def without(table: pl.DataFrame, first: int, num: int) -> pl.DataFrame:
    row = pl.int_range(pl.len())
    return table.filter((row < first) | (row >= first + num))


@pytest.mark.parametrize("num", [0, 1, 2, 3, 10])
def test_daily_bars_may_miss_holidays_and_no_more(make_table: MakeTable, num: int) -> None:
    found = gaps(without(make_table(), 100, num), CONFIG)

    assert [one.value for one in found] == ([num] if num > 2 else [])
    assert all("business days" in one.message and one.date is not None for one in found)


def regular(every: str, num: int, series: str = "X") -> pl.DataFrame:
    dates = pl.datetime_range(pl.datetime(2018, 1, 1), pl.datetime(2040, 1, 1), every, eager=True).head(num)
    return pl.DataFrame({"series_id": [series] * num, "date": dates})


@pytest.mark.parametrize("every", ["15m", "1h", "1d", "1w"])
def test_equal_steps_may_miss_none(every: str) -> None:
    whole = regular(every, 1000)
    assert not gaps(whole, CONFIG)

    (found,) = gaps(without(without(whole, 700, 1), 100, 4), CONFIG)

    assert found.value == 4
    assert found.date == str(whole["date"][99]).removesuffix(" 00:00:00")
    assert "2 gaps, 5 rows in all" in found.message


def test_months_are_equal_steps() -> None:
    assert not gaps(regular("1mo", 100), CONFIG)


def test_bars_that_stop_at_night_are_judged_by_days() -> None:
    hours = regular("1h", 24 * 200).filter(pl.col("date").dt.hour().is_between(9, 16), pl.col("date").dt.weekday() <= 5)
    assert not gaps(hours, CONFIG)

    (found,) = gaps(without(hours, 400, 8 * 6), CONFIG)

    assert found.threshold == CONFIG.max_closed_days
    assert found.value is not None
    assert 8 <= found.value <= 11


def test_series_with_the_same_hole_share_a_finding(make_table: MakeTable) -> None:
    tables = [without(make_table(300, name), 100, 4) for name in "ABCDEF"]

    (found,) = gaps(pl.concat(tables), CONFIG)

    assert found.series == "A, B, C, D and 2 more"


def test_a_series_that_ended_long_before_the_others_is_named(make_table: MakeTable) -> None:
    table = pl.concat([make_table(300, "A"), make_table(250, "B"), make_table(297, "C")])

    assert [one.series for one in ended_series(table)] == ["B"]
