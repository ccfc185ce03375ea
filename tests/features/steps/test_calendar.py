"""The date's parts, and days to published events."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from raytrain.data import Frame
from raytrain.features.build import FeaturesConfig, build

AsFrame = Callable[[pl.DataFrame], Frame]
Compute = Callable[..., dict[str, np.ndarray]]


def test_calendar(frame: Frame, compute: Compute) -> None:
    found = compute(frame, step="calendar")
    expected = {
        "dow": [day.isoweekday() for day in frame.table["date"]],
        "dom": [day.day for day in frame.table["date"]],
        "moy": [day.month for day in frame.table["date"]],
    }
    assert {name: values.tolist() for name, values in found.items()} == expected


def test_calendar_extras(frame: Frame, compute: Compute) -> None:
    found = compute(frame, step="calendar", extra=["days_to_month_end", "week", "day_of_year", "quarter"])
    assert list(found)[3:] == ["days_to_month_end", "week", "day_of_year", "quarter"]
    days = frame.table["date"].to_list()
    assert found["week"].tolist() == [day.isocalendar().week for day in days]
    assert found["quarter"].tolist() == [(day.month + 2) // 3 for day in days]
    assert found["day_of_year"].tolist() == [day.timetuple().tm_yday for day in days]
    left = [sum((day + timedelta(days=n)).month == day.month for n in range(1, 31)) for day in days]
    assert found["days_to_month_end"].tolist() == left


def test_calendar_has_hours_where_rows_do(as_frame: AsFrame, compute: Compute) -> None:
    hours = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 1, 3), "1h", eager=True)
    found = compute(as_frame(pl.DataFrame({"date": hours, "close": 1.0})), step="calendar")
    assert list(found)[-1] == "hour"
    np.testing.assert_array_equal(found["hour"], [when.hour for when in hours])


def days_to(frame: Frame, *dates: date) -> np.ndarray:
    step = {"step": "days_to", "column": "event", "dates": dates}
    found = build(frame, FeaturesConfig.model_validate({"steps": [step], "known": ["event"]}))
    assert found.names == ("days_to_event",)
    assert found.known == (0,)
    return found.x[:, 0]


def test_days_to_the_next_event_of_the_series(as_frame: AsFrame) -> None:
    """Fridays skip the weekend: days, not rows."""
    days = [datetime(2020, 1, 2), datetime(2020, 1, 3), datetime(2020, 1, 6), datetime(2020, 1, 7)]
    table = pl.DataFrame({"date": days, "close": 1.0, "event": [0.0, 0.0, 1.0, None]})
    other = table.with_columns(series_id=pl.lit("B"), event=pl.Series([1.0, 0.0, 0.0, 1.0]))
    frame = as_frame(pl.concat([table.with_columns(series_id=pl.lit("A")), other]))
    np.testing.assert_array_equal(days_to(frame), [4, 3, 0, np.nan, 0, 4, 1, 0])


def test_published_dates_go_on_where_the_table_ends(one_series: Callable[..., Frame]) -> None:
    frame = one_series(event=[0.0, 1.0, 0.0, 0.0])
    found = days_to(frame, date(2020, 2, 1), date(2020, 1, 4), date(2020, 1, 1))
    np.testing.assert_array_equal(found, [1, 0, 1, 0])
    np.testing.assert_array_equal(days_to(frame, date(2020, 1, 9)), [1, 0, 6, 5])
    np.testing.assert_array_equal(days_to(frame, date(2020, 1, 3)), [1, 0, 0, np.nan])


def test_hours_count_as_parts_of_days(as_frame: AsFrame) -> None:
    hours = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 1, 2), "6h", eager=True)
    frame = as_frame(pl.DataFrame({"date": hours, "close": 1.0, "event": [0.0, 0.0, 1.0, 0.0, 0.0]}))
    np.testing.assert_array_equal(days_to(frame, date(2020, 1, 2)), [0.5, 0.25, 0, 0.25, 0])


@pytest.mark.parametrize("cut", [3, 20, 90])
def test_with_published_dates_tomorrow_changes_nothing(cut: int, table: pl.DataFrame, as_frame: AsFrame) -> None:
    dates = [date(2020, month, 12) for month in range(1, 13)]
    whole = days_to(as_frame(table), *dates)[:cut]
    np.testing.assert_array_equal(days_to(as_frame(table.head(cut)), *dates), whole)
