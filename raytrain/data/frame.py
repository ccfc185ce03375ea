"""The frame contract: the one table a run reads, checked once, here."""

import datetime
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import polars as pl

from raytrain.data.config import DataConfig
from raytrain.errors import DataError, did_you_mean

SERIES = "series_id"
DATE = "date"
FIRST_DATE, LAST_DATE = datetime.datetime(1800, 1, 1), datetime.datetime(2100, 1, 1)
"""Dates are counted in nanoseconds in 64 bits, and spans are added to them; what lies outside is a placeholder."""


@dataclass(frozen=True)
class Frame:
    """A checked table.

    `table` holds `series_id` (text), `date` (microseconds, no time zone) and float64 columns, sorted by series and
    date, each pair once. Price and high are finite and never missing; other columns may have NaN for unknown.
    """

    table: pl.DataFrame
    price: str
    high: str
    periods_per_year: float
    source: str
    left_out: tuple[str, ...] = ()
    """Columns that hold no numbers."""

    @property
    def columns(self) -> list[str]:
        """The numeric columns."""
        return [name for name in self.table.columns if name not in (SERIES, DATE)]

    @property
    def series(self) -> list[str]:
        """The series, in the order of the table."""
        return self.table[SERIES].unique(maintain_order=True).to_list()

    def content_hash(self) -> str:
        """SHA-256 over names and values: equal tables, however stored, have equal hashes."""
        digest = hashlib.sha256()
        columns = sorted(self.columns)
        digest.update(json.dumps([columns, self.table[SERIES].to_list()]).encode())
        for name in (DATE, *columns):
            digest.update(np.ascontiguousarray(self.table[name].to_physical().to_numpy()).data)
        return digest.hexdigest()


def make_frame(table: pl.DataFrame, config: DataConfig, source: str, default_series: str) -> Frame:
    """Check a raw table and bring it into the form of the contract.

    Raises:
        DataError: a column is missing, dates are absent, unsorted or twice, or the price has gaps.
    """
    _require_columns(table, config, source)
    if config.series not in table.columns:
        table = table.with_columns(pl.lit(default_series).alias(config.series))
    table = table.with_columns(
        pl.col(config.series).cast(pl.String).alias(SERIES), _as_datetime(table, config.date, source).alias(DATE)
    )
    table = _between(table, config)
    _check_keys(table, source)
    prices = list(dict.fromkeys((config.price, config.high or config.price)))
    hidden = {SERIES, DATE, config.series, config.date, *config.exclude}.difference(prices)
    values = [name for name in table.columns if name not in hidden]
    numeric = [name for name in values if table.schema[name].is_numeric() or table.schema[name] == pl.Boolean]
    for name in prices:
        if name not in numeric:
            raise DataError(f"the price column `{name}` must hold numbers, got {table.schema[name]} in {source}")
    # Through null, so that every NaN has the same bits and equal tables hash equal.
    floats = (pl.col(name).cast(pl.Float64).fill_nan(None).fill_null(float("nan")) for name in numeric)
    table = table.select(SERIES, DATE, *floats).sort(SERIES, DATE)
    for name in prices:
        _check_price(table, name, source)
    left_out = tuple(sorted(set(values) - set(numeric)))
    return Frame(table, config.price, config.high or config.price, config.periods_per_year, source, left_out)


def _require_columns(table: pl.DataFrame, config: DataConfig, source: str) -> None:
    named = [("data.date", config.date), ("data.price", config.price)]
    if config.high is not None:
        named.append(("data.high", config.high))
    if config.series != SERIES:
        named.append(("data.series", config.series))
    for key, name in (*named, *(("data.exclude", name) for name in config.exclude)):
        if name not in table.columns:
            raise DataError(f"{key} must name a column of {source}, got `{name}`; {did_you_mean(name, table.columns)}")


def _as_datetime(table: pl.DataFrame, name: str, source: str) -> pl.Expr:
    kind = table.schema[name]
    column = pl.col(name)
    if isinstance(kind, pl.Datetime):
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if kind.time_zone else column
    elif kind != pl.Date:
        raise DataError(f"`{name}` must hold dates or times, got {kind} in {source}; write them as YYYY-MM-DD")
    # What cannot be held becomes null, which is refused below; a strict cast of such a date makes polars panic.
    return column.cast(pl.Datetime("us"), strict=False)


def _between(table: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    day = pl.col(DATE).dt.date()
    if config.first_date is not None:
        table = table.filter(day >= config.first_date)
    if config.last_date is not None:
        table = table.filter(day <= config.last_date)
    return table


def _check_keys(table: pl.DataFrame, source: str) -> None:
    if table.is_empty():
        raise DataError(f"the table must have rows, got 0 from {source}; look at data.first_date and data.last_date")
    for name in (SERIES, DATE):
        if nulls := table[name].null_count():
            raise DataError(f"every row must have a {name}, got {nulls} without in {source}; drop or mend them")
    outside = table.filter(~pl.col(DATE).is_between(FIRST_DATE, LAST_DATE))
    if not outside.is_empty():
        raise DataError(
            f"dates must lie between {FIRST_DATE.year} and {LAST_DATE.year}, got the year "
            f"{outside[DATE].dt.year()[0]} ({outside.height} such rows) in {source}; drop or mend these rows"
        )
    twice = table.group_by(SERIES, DATE).len().filter(pl.col("len") > 1).sort(SERIES, DATE)
    if not twice.is_empty():
        series, when, count = twice.row(0)
        raise DataError(
            f"a series may have one row per date, got {count} for {series} on {when} "
            f"({twice.height} such dates) in {source}; keep one of them, or name the series column in data.series"
        )
    back = table.filter(pl.col(DATE) < pl.col(DATE).shift(1).over(SERIES))
    if not back.is_empty():
        series, when = back.select(SERIES, DATE).row(0)
        raise DataError(
            f"dates must rise within a series, got {when} after a later one for {series} in {source}; sort it"
        )


def _check_price(table: pl.DataFrame, price: str, source: str) -> None:
    bad = table.filter(~pl.col(price).is_finite())
    if not bad.is_empty():
        series, when, value = bad.select(SERIES, DATE, price).row(0)
        raise DataError(
            f"the price must be known and finite on every row, got {value} in `{price}` for {series} on {when} "
            f"({bad.height} such rows) in {source}; drop or mend these rows"
        )
