"""Dates in every form: read when there is one way to read them, else refused; DST days keep every row, in order."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raytrain.data.dates import as_times
from raytrain.data.policy import PolicyConfig
from raytrain.errors import DataError

NEW_YORK = "America/New_York"
ZONES = (NEW_YORK, "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Tokyo", "America/Havana")
SPRING, AUTUMN = date(2020, 3, 8), date(2020, 11, 1)
HOUR = timedelta(hours=1)


def read(values: Any, **policy: Any) -> list[datetime | None]:
    column = pl.Series("ts", values)
    return as_times(column, PolicyConfig.model_validate(policy), "bars.csv")[0].to_list()


def notes(values: Any, **policy: Any) -> tuple[str, ...]:
    return as_times(pl.Series("ts", values), PolicyConfig.model_validate(policy), "bars.csv")[1]


FORMS = [
    ("2020-01-31", "2020-02-01"),
    ("2020-1-31", "2020-2-1"),
    ("2020/01/31", "2020/02/01"),
    ("2020.01.31", "2020.02.01"),
    ("20200131", "20200201"),
    (20200131, 20200201),
    ("31/01/2020", "01/02/2020"),
    ("01/31/2020", "02/01/2020"),
    ("31.1.2020", "1.2.2020"),
    ("31 Jan 2020", "1 February 2020"),
    ("31-Jan-2020", "1-Feb-2020"),
    ("Jan 31, 2020", "February 1, 2020"),
    (" 2020-01-31", "2020-02-01 00:00"),
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_day_in_every_form(form: tuple[Any, Any]) -> None:
    assert read(form) == [datetime(2020, 1, 31), datetime(2020, 2, 1)]


def test_nulls_stay() -> None:
    assert read(["2020-01-31", None]) == [datetime(2020, 1, 31), None]
    assert read([20200131, None]) == [datetime(2020, 1, 31), None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-31 9:30", datetime(2020, 1, 31, 9, 30)),
        ("2020-01-31T09:30:05", datetime(2020, 1, 31, 9, 30, 5)),
        ("31.01.2020 09:30:05.250", datetime(2020, 1, 31, 9, 30, 5, 250000)),
        ("20200131T09:30", datetime(2020, 1, 31, 9, 30)),
        ("2020-01-31T09:30Z", datetime(2020, 1, 31, 9, 30)),
        ("2020-01-31 09:30:00 UTC", datetime(2020, 1, 31, 9, 30)),
        ("2020-01-31T09:30:00-05:00", datetime(2020, 1, 31, 14, 30)),
        ("2020-01-31T09:30:00+0530", datetime(2020, 1, 31, 4)),
        ("2020-01-31T09:30:00-0330", datetime(2020, 1, 31, 13)),
        ("2020-01-31T23:30:00-02", datetime(2020, 2, 1, 1, 30)),
    ],
)
def test_times_and_offsets(text: str, expected: datetime) -> None:
    assert read([text]) == [expected]


def test_the_policy_says_which_is_the_month_when_nothing_else_does() -> None:
    both = ["01/02/2020", "03/02/2020"]
    assert read(both, date_order="day_first") == [datetime(2020, 2, 1), datetime(2020, 2, 3)]
    assert read(both, date_order="month_first") == [datetime(2020, 1, 2), datetime(2020, 3, 2)]
    assert read([*both, "02/13/2020"], date_order="day_first")[0] == datetime(2020, 1, 2)


REFUSED = [
    (["01/02/2020", "03/02/2020"], "must tell the day from the month, got only such as '0"),
    (["13.02.2020", "01.13.2020"], "must hold dates of one form, got '13.02.2020' and '01.13.2020' in bars.csv"),
    (["2020-01-31", "soon"], "got String such as 'soon' (1 such rows) in bars.csv; write them as YYYY-MM-DD"),
    (["2020-02-30"], "got String such as '2020-02-30'"),
    (["20-01-31"], "got String such as '20-01-31'"),
    (["1/31/20"], "got String such as '1/31/20'"),
    (["12020-01-31"], "got String such as '12020-01-31'"),
    (["2020-01-31 25:00"], "got String such as '2020-01-31 25:00'"),
    (["2020-01-31 01:00 PM"], "got String such as '2020-01-31 01:00 PM'"),
    ([""], "got String such as ''"),
    ([20200230], "got String such as '20200230'"),
    ([1580428800, 1580515200], "must hold dates or times, got Int64"),
    ([2020.5], "must hold dates or times, got Float64"),
    ([None], "must hold dates or times, got Null"),
    (
        ["2020-01-31T09:30:00Z", "2020-01-31T10:30:00", "2020-01-31T11:30:00"],
        "must carry a time zone on every row or on none, got '2020-01-31T09:30:00Z' (1 such rows) and "
        "'2020-01-31T10:30:00' (2) in bars.csv",
    ),
]


@pytest.mark.parametrize(("values", "said"), REFUSED, ids=lambda part: str(part)[:30])
def test_refused(values: list[Any], said: str) -> None:
    with pytest.raises(DataError) as error:
        read(values)
    assert said in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31)), min_size=1, max_size=5))
def test_what_python_writes_is_read_back(times: list[datetime]) -> None:
    assert read([time.isoformat() for time in times]) == times
    assert read([time.replace(tzinfo=UTC).isoformat() for time in times]) == times
    assert read([str(time.date()) for time in times]) == [
        datetime.combine(time.date(), time.min.time()) for time in times
    ]


def moments(first: datetime, count: int, step: timedelta) -> pl.Series:
    return pl.Series("ts", [first + i * step for i in range(count)], dtype=pl.Datetime("us", "UTC"))


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_day_of_23_or_25_hours_keeps_every_row_in_order(day: date, hours: int) -> None:
    zone = ZoneInfo(NEW_YORK)
    first = datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
    assert datetime.combine(day + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC) - first == hours * HOUR
    found = read(moments(first, hours + 1, HOUR), timezone=NEW_YORK)
    assert found == sorted(set(found))
    assert [when.date() for when in found] == [day] * hours + [day + timedelta(days=1)]
    walls = [(first + i * HOUR).astimezone(zone).hour for i in range(hours)]
    assert [when.hour for when in found[:-1]] == walls


def test_the_hour_that_comes_twice_is_told_at_half_speed() -> None:
    found = read(moments(datetime(2020, 11, 1, 4, 30, tzinfo=UTC), 7, HOUR / 2), timezone=NEW_YORK)
    assert [when.strftime("%H:%M") for when in found] == ["00:30", "01:00", "01:15", "01:30", "01:45", "02:00", "02:30"]


@settings(max_examples=100, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    first=st.datetimes(datetime(1975, 1, 1), datetime(2036, 1, 1)).map(lambda t: t.replace(second=0, microsecond=0)),
    minutes=st.sampled_from([2, 10, 60, 24 * 60]),
)
@example(zone=NEW_YORK, first=datetime(2020, 11, 1), minutes=2)
@example(zone=NEW_YORK, first=datetime(2020, 3, 8), minutes=2)
@example(zone="Australia/Lord_Howe", first=datetime(2020, 4, 4), minutes=2)
@example(zone="America/Sao_Paulo", first=datetime(2018, 2, 17, 12), minutes=2)
@example(zone="America/Havana", first=datetime(2020, 11, 1), minutes=2)
def test_the_market_clock_never_repeats_nor_runs_back(zone: str, first: datetime, minutes: int) -> None:
    """Whatever the zone: rows keep their order and their market date, and are told the wall clock to within the hour
    that is repeated."""
    utc = moments(first.replace(tzinfo=UTC), 900, timedelta(minutes=minutes))
    found = read(utc, timezone=zone)
    assert all(earlier < later for earlier, later in pairwise(found))
    if not all(when.time() == time() for when in utc):
        walls = [when.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for when in utc]
        assert [when.date() for when in found] == [wall.date() for wall in walls]
        assert max(abs(when - wall) for when, wall in zip(found, walls, strict=True)) <= HOUR / 2


@pytest.mark.parametrize("month", [3, 11])
def test_daily_bars_land_on_their_market_date(month: int) -> None:
    """Stamped at midnight UTC, at New York's close, or with the offset of the close: all through a change of clocks."""
    days = [date(2020, month, day) for day in range(1, 29)]
    zone = ZoneInfo(NEW_YORK)
    closes = [datetime.combine(day, time(16), tzinfo=zone) for day in days]
    midnights = [datetime.combine(day, time(), tzinfo=UTC) for day in days]
    forms = [
        pl.Series("ts", midnights, dtype=pl.Datetime("ms", "UTC")),
        pl.Series("ts", [when.isoformat() for when in midnights]),
        pl.Series("ts", [when.astimezone(UTC) for when in closes], dtype=pl.Datetime("ns", "UTC")),
        pl.Series("ts", closes, dtype=pl.Datetime("us", NEW_YORK)),
        pl.Series("ts", [when.isoformat() for when in closes]),
    ]
    for form in forms:
        found = read(form, timezone=NEW_YORK)
        assert [when.date() for when in found] == days
        assert {when.time() for when in found} in ({time()}, {time(16)})


def test_what_was_converted_is_counted() -> None:
    utc = moments(datetime(2020, 1, 1, 12, tzinfo=UTC), 3, HOUR)
    said = "`ts`: 3 times told in UTC became times of the wall clock of America/New_York"
    assert notes(utc, timezone=NEW_YORK) == (said,)
    assert notes(utc) == notes(utc.dt.convert_time_zone(NEW_YORK), timezone=NEW_YORK) == ()
    assert notes(utc.dt.convert_time_zone("Asia/Tokyo")) == ("`ts`: 3 times told in Asia/Tokyo became times of UTC",)
    assert notes(["2020-01-31T09:30Z"]) == notes(["2020-01-31T09:30"], timezone=NEW_YORK) == ()
    assert notes(["2020-01-31T09:30+01"]) == ("`ts`: 1 times told in offsets from UTC became times of UTC",)
