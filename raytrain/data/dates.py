"""A column of dates or times, however it is written, as times of one clock.

The clock is the policy's time zone for values that carry a zone, and the column's own for values that carry none.
"""

from datetime import timedelta
from typing import Literal

import polars as pl

from raytrain.data.policy import PolicyConfig
from raytrain.errors import DataError

_CLOCK = r"(\d{1,2}:\d{2})(:\d{2}(?:[.,]\d{1,9})?)?"
_OFFSET = r"Z|z|UTC|[+-]\d{2}(?::?\d{2})?"
_MOMENT = rf"^(.+?)(?:(?:[Tt]| +){_CLOCK}\s*({_OFFSET})?)?$"
"""Day, hours and minutes, seconds, offset."""
_NUMERIC_DAY = r"^(\d{1,2})[-/.](\d{1,2})[-/.]\d{4}$"
_YEAR_FIRST = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d")
_MONTH_IN_LETTERS = ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
_WAY_OUT = "write them as YYYY-MM-DD"
Order = Literal["day_first", "month_first"]


def as_times(column: pl.Series, policy: PolicyConfig, source: str) -> tuple[pl.Series, tuple[str, ...]]:
    """Times without a zone, in microseconds, and notes on what was converted.

    A null stays null; so does a date that 64 bits cannot hold.

    Raises:
        DataError: no dates, an ambiguous order of day and month, or values with and without a zone in one column.
    """
    kind = column.dtype
    if isinstance(kind, pl.Datetime) and kind.time_zone:
        # To microseconds first: not every date of a coarser unit can be told in nanoseconds.
        return _on_the_clock(column.cast(pl.Datetime("us", "UTC"), strict=False), kind.time_zone, policy)
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        # What cannot be held becomes null, which the frame refuses; a strict cast of such a date makes polars panic.
        return column.cast(pl.Datetime("us"), strict=False), ()
    if kind.is_integer() and column.drop_nulls().is_between(18000101, 21001231).all() and column.count():
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        raise DataError(f"`{column.name}` must hold dates or times, got {kind} in {source}; {_WAY_OUT}")
    return _from_text(column, policy, source)


def _from_text(column: pl.Series, policy: PolicyConfig, source: str) -> tuple[pl.Series, tuple[str, ...]]:
    text = column.str.strip_chars()
    parts = text.to_frame("text").select(
        day=pl.col("text").str.extract(_MOMENT, 1),
        clock=pl.col("text").str.extract(_MOMENT, 2).fill_null("0:00")
        + pl.col("text").str.extract(_MOMENT, 3).fill_null(":00").str.replace(",", ".", literal=True),
        offset=pl.col("text").str.extract(_MOMENT, 4),
    )
    _require_one_kind(column, parts["offset"], source)
    days = parts["day"].drop_nulls().unique()
    dates = _read_days(days, column.name, policy, source)
    parts = parts.join(pl.DataFrame({"day": days, "date": dates}), on="day", how="left", maintain_order="left")
    clock = pl.col("clock").str.to_time("%H:%M:%S%.f", strict=False)
    moment = parts.select(pl.col("date").dt.combine(clock, "us").alias(column.name)).to_series()
    _require_read(column, moment, source)
    if parts["offset"].null_count() == len(parts):
        return moment, ()
    offset = _offset(parts["offset"])
    told_in = "offsets from UTC" if (offset != timedelta()).any() else "UTC"
    return _on_the_clock((moment - offset).dt.replace_time_zone("UTC"), told_in, policy)


def _require_one_kind(column: pl.Series, offset: pl.Series, source: str) -> None:
    with_zone, without = column.filter(offset.is_not_null()), column.filter(offset.is_null() & column.is_not_null())
    if len(with_zone) and len(without):
        raise DataError(
            f"`{column.name}` must carry a time zone on every row or on none, got {with_zone[0]!r} ({len(with_zone)} "
            f"such rows) and {without[0]!r} ({len(without)}) in {source}; write all of them in one way"
        )


def _require_read(column: pl.Series, moment: pl.Series, source: str) -> None:
    unread = column.filter(moment.is_null() & column.is_not_null())
    if len(unread):
        raise DataError(
            f"`{column.name}` must hold dates or times, got String such as {unread[0]!r} ({len(unread)} such rows) in "
            f"{source}; {_WAY_OUT}"
        )


def _read_days(days: pl.Series, name: str, policy: PolicyConfig, source: str) -> pl.Series:
    """Each text as a date; null where no form fits."""
    forms = [*_YEAR_FIRST, *_MONTH_IN_LETTERS]
    numeric = days.filter(days.str.contains(_NUMERIC_DAY))
    if len(numeric):
        order = _order(numeric, name, policy, source)
        first, second = ("%d", "%m") if order == "day_first" else ("%m", "%d")
        forms += [f"{first}{mark}{second}{mark}%Y" for mark in "-/."]
    # Chrono's %Y takes any number of digits, so that 20-01-02 would be the year 20.
    dated = pl.col("day").str.contains(r"\d{4}")
    read = pl.coalesce(pl.col("day").str.to_date(form, strict=False, exact=True) for form in forms)
    return pl.DataFrame({"day": days}).select(pl.when(dated).then(read).alias("date"))["date"]


def _order(days: pl.Series, name: str, policy: PolicyConfig, source: str) -> Order:
    """Whether the day or the month comes first, as the values themselves tell.

    Raises:
        DataError: no value tells, or values contradict each other.
    """
    first, second = (days.str.extract(_NUMERIC_DAY, group).cast(pl.Int8) for group in (1, 2))
    day_first, month_first = days.filter(first > 12), days.filter(second > 12)
    if len(day_first) and len(month_first):
        raise DataError(
            f"`{name}` must hold dates of one form, got {day_first[0]!r} and {month_first[0]!r} in {source}; {_WAY_OUT}"
        )
    if len(day_first):
        return "day_first"
    if len(month_first):
        return "month_first"
    if policy.date_order == "refuse":
        raise DataError(
            f"`{name}` must tell the day from the month, got only such as {days[0]!r} in {source}; say "
            f"data.policy.date_order day_first or month_first, or {_WAY_OUT}"
        )
    return policy.date_order


def _offset(offset: pl.Series) -> pl.Series:
    """`-05:00`, `+0530`, `+02`, `Z` as a duration."""
    hours = offset.str.extract(r"^([+-]\d{2})", 1).cast(pl.Int64).fill_null(0)
    minutes = offset.str.extract(r"^[+-]\d{2}:?(\d{2})", 1).cast(pl.Int64).fill_null(0)
    sign = pl.Series([-1, 1], dtype=pl.Int64).gather(offset.str.starts_with("-").not_().cast(pl.UInt32))
    return (hours * 60 + sign * minutes).cast(pl.Duration("us")) * 60_000_000


def _on_the_clock(utc: pl.Series, told_in: str, policy: PolicyConfig) -> tuple[pl.Series, tuple[str, ...]]:
    """Moments as wall-clock times of the policy's zone.

    A column that is midnight UTC on every row holds days, not moments: they keep their date.
    """
    naive = utc.dt.replace_time_zone(None)
    zone = policy.timezone
    if zone == "UTC" or (naive.dt.truncate("1d") == naive).all():
        moved = 0 if told_in == "UTC" else utc.count()
    else:
        naive, moved = _wall_clock(utc, zone), utc.count()
    if told_in == zone or not moved:
        return naive, ()
    target = "UTC" if zone == "UTC" else f"the wall clock of {zone}"
    return naive, (f"`{utc.name}`: {moved} times told in {told_in} became times of {target}",)


def _wall_clock(utc: pl.Series, zone: str) -> pl.Series:
    """Wall-clock times that rise as strictly as the moments do.

    In autumn an hour comes twice. Both passes are told inside that hour, at half speed, so that a day of 25 hours keeps
    all its rows, in order: 1:00, 1:15 (was 1:30), 1:30 (was 1:00 again), 1:45, 2:00.
    """
    wall = utc.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    table = pl.DataFrame({"utc": utc, "wall": wall})
    passes = {
        which: pl.col("wall").dt.replace_time_zone(zone, ambiguous=which).dt.convert_time_zone("UTC")
        for which in ("earliest", "latest")
    }
    table = table.with_columns(**passes)
    gap = pl.col("latest") - pl.col("earliest")
    first_pass = pl.col("utc") == pl.col("earliest")
    micros, length = pl.col("wall").dt.epoch("us"), gap.dt.total_microseconds()
    begin = micros - micros % length
    half = (micros - begin + pl.when(first_pass).then(0).otherwise(length)) // 2
    squeezed = (begin + half).cast(pl.Datetime("us"))
    return table.select(pl.when(length > 0).then(squeezed).otherwise("wall").alias(utc.name)).to_series()
