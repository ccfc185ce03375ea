"""The frame contract: the one table a run reads, checked once, here."""

import datetime
import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import polars as pl

from raytrain.data.config import DataConfig
from raytrain.data.dates import as_times
from raytrain.data.numbers import as_floats, is_number, is_text, mask_infinite, numbers_of_text
from raytrain.errors import DataError, did_you_mean

SERIES = "series_id"
DATE = "date"
Notes = tuple[str, ...]
FIRST_DATE, LAST_DATE = datetime.datetime(1800, 1, 1), datetime.datetime(2100, 1, 1)
"""Dates are counted in nanoseconds in 64 bits, and spans are added to them; what lies outside is a placeholder."""


@dataclass(frozen=True)
class Frame:
    """A checked table.

    `table` holds `series_id` (text), `date` (microseconds, no time zone), float64 columns and text columns, sorted by
    series and date, each pair once. Price and high are finite and never missing; other numbers may be NaN for unknown.
    """

    table: pl.DataFrame
    price: str
    high: str
    periods_per_year: float
    source: str
    left_out: tuple[str, ...] = ()
    """Columns that hold no numbers; those of text are in the table for who asks by name."""
    notes: tuple[str, ...] = ()
    """What the policies did, with counts."""
    low: str | None = None
    """The column with the row's lowest price, if there is one."""
    volatility_index: str | None = None
    """The column with a volatility index in percent a year, if there is one."""

    @property
    def columns(self) -> list[str]:
        """The numeric columns."""
        return [name for name, kind in self.table.schema.items() if kind == pl.Float64]

    @property
    def texts(self) -> list[str]:
        """The text columns: regimes, contract codes."""
        return [name for name, kind in self.table.schema.items() if kind == pl.String and name != SERIES]

    @property
    def series(self) -> list[str]:
        """The series, in the order of the table."""
        return self.table[SERIES].unique(maintain_order=True).to_list()

    def content_hash(self) -> str:
        """SHA-256 over names and values: equal tables, however stored, have equal hashes."""
        digest = hashlib.sha256()
        columns, texts = sorted(self.columns), sorted(self.texts)
        runs = self.table[SERIES].rle().struct.unnest()
        digest.update(json.dumps([columns, texts, runs["value"].to_list(), runs["len"].to_list()]).encode())
        for name in (DATE, *columns):
            digest.update(np.ascontiguousarray(self.table[name].to_physical().to_numpy()).data)
        for name in texts:
            words = self.table[name].unique().sort()
            codes = self.table[name].cast(pl.Enum(words.drop_nulls())).to_physical().cast(pl.Int64).fill_null(-1)
            digest.update(json.dumps(words.to_list()).encode())
            digest.update(codes.to_numpy().data)
        return digest.hexdigest()


def make_frame(table: pl.DataFrame, config: DataConfig, source: str, default_series: str) -> Frame:
    """Check a raw table and bring it into the form of the contract; clean columns are shared, not copied.

    Raises:
        DataError: a column is missing, dates are absent, unsorted or twice, the price has gaps, or a value is refused
            by its policy.
    """
    table = _with_clean_headers(table, source)
    _require_columns(table, config, source)
    times, notes = as_times(table[config.date], config.policy, source)
    names = (
        table[config.series] if config.series in table.columns else pl.repeat(default_series, len(table), eager=True)
    )
    keys = [names.cast(pl.String).alias(SERIES), times.alias(DATE)]
    hidden = {SERIES, DATE, config.series, config.date, *config.exclude}.difference(config.prices)
    values = table.select(name for name in table.columns if name not in hidden)
    table = _between(pl.DataFrame(keys).hstack(values), config)
    table, more = _with_values(table, config, source)
    table, merged = _merge_equal_rows(table, config)
    _check_keys(table, source)
    table, dropped = _drop_without_price(table, config)
    notes += more + merged + dropped
    table = table if _rises(table) else table.sort(SERIES, DATE)
    for name in config.prices:
        notes += _check_price(table, name, source)
    _check_beside(table, config, source)
    left_out = tuple(sorted(name for name in values.columns if table.schema.get(name) != pl.Float64))
    return Frame(
        table,
        config.price,
        config.prices[-1],
        config.periods_per_year,
        source,
        left_out,
        notes,
        low=config.low,
        volatility_index=config.volatility_index,
    )


def _with_clean_headers(table: pl.DataFrame, source: str) -> pl.DataFrame:
    """Names in one Unicode form, without the byte order mark and blanks that editors leave at their ends."""
    names = [unicodedata.normalize("NFC", name.strip("\ufeff \t")) for name in table.columns]
    # The CSV reader gives the second of two equal names an ending of its own.
    copies = {name.partition("_duplicated_")[0] for name in names if re.search(r"_duplicated_\d+$", name)}
    twice = {name for name in names if names.count(name) > 1} | copies.intersection(names)
    if twice:
        raise DataError(f"each column needs a name of its own, got `{min(twice)}` twice in {source}; rename one")
    return table.rename(dict(zip(table.columns, names, strict=True)))


def _require_columns(table: pl.DataFrame, config: DataConfig, source: str) -> None:
    named = [("data.date", config.date), ("data.price", config.price)]
    if config.high is not None:
        named.append(("data.high", config.high))
    if config.series != SERIES:
        named.append(("data.series", config.series))
    for key, name in (*named, *(("data.exclude", name) for name in config.exclude)):
        if name not in table.columns:
            raise DataError(f"{key} must name a column of {source}, got `{name}`; {did_you_mean(name, table.columns)}")
    for name in config.prices:
        if name in (SERIES, DATE, config.series, config.date):
            kind = table.schema[name]
            raise DataError(f"the price column `{name}` must hold numbers beside the keys, got {kind} in {source}")


def _between(table: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    day = pl.col(DATE).dt.date()
    if config.first_date is not None:
        table = table.filter(day >= config.first_date)
    if config.last_date is not None:
        table = table.filter(day <= config.last_date)
    return table


def _with_values(table: pl.DataFrame, config: DataConfig, source: str) -> tuple[pl.DataFrame, Notes]:
    """The keys, then the columns of numbers and of text; what is neither is left out.

    Column by column, so that a wide table is never there twice.
    """
    kept, notes = [table[SERIES], table[DATE]], Notes()
    for column in table.iter_columns():
        if column.name in (SERIES, DATE):
            continue
        price = column.name in config.prices
        numbers: pl.Series | None = column if is_number(column.dtype) else None
        if is_text(column.dtype):
            numbers, more = numbers_of_text(column, config.policy, source, required=price)
            notes += more
        elif price and numbers is None:
            raise DataError(f"the price column `{column.name}` must hold numbers, got {column.dtype} in {source}")
        if numbers is not None:
            floats, more = mask_infinite(as_floats(numbers), config.policy)
            kept, notes = [*kept, floats], notes + more
        elif is_text(column.dtype):
            kept.append(column.cast(pl.String))
    return pl.DataFrame(kept), notes


def _merge_equal_rows(table: pl.DataFrame, config: DataConfig) -> tuple[pl.DataFrame, Notes]:
    if config.policy.duplicates == "refuse":
        return table, ()
    merged = table.unique(keep="first", maintain_order=True)
    if not (count := table.height - merged.height):
        return table, ()
    return merged, (f"{count} rows that repeat another one in every column are left out",)


def _drop_without_price(table: pl.DataFrame, config: DataConfig) -> tuple[pl.DataFrame, Notes]:
    if config.policy.missing_price == "refuse":
        return table, ()
    known = table.filter(pl.all_horizontal(pl.col(name).is_not_nan() for name in config.prices))
    if not (count := table.height - known.height):
        return table, ()
    return known, (f"{count} rows without a {' or '.join(config.prices)} are left out",)


def _rises(table: pl.DataFrame) -> bool:
    """Whether the keys rise strictly from row to row: sorted, and no key twice."""
    series, date = pl.col(SERIES), pl.col(DATE)
    later = (series == series.shift(1)) & (date > date.shift(1))
    return bool(table.select(((series > series.shift(1)) | later).all(ignore_nulls=True)).item())


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
    if not _rises(table):
        _check_order(table, source)


def _check_order(table: pl.DataFrame, source: str) -> None:
    """Series may lie in any order and interleaved; within each, every date comes once and after the one before."""
    twice = table.group_by(SERIES, DATE).len().filter(pl.col("len") > 1).sort(SERIES, DATE)
    if not twice.is_empty():
        series, when, count = twice.row(0)
        raise DataError(
            f"a series may have one row per date, got {count} for {series} on {when} "
            f"({twice.height} such dates) in {source}; keep one of them (data.policy.duplicates merge_exact does so "
            "where the rows are equal), or name the series column in data.series"
        )
    back = table.filter(pl.col(DATE) < pl.col(DATE).shift(1).over(SERIES))
    if not back.is_empty():
        series, when = back.select(SERIES, DATE).row(0)
        raise DataError(
            f"dates must rise within a series, got {when} after a later one for {series} in {source}; sort it"
        )


def _check_beside(table: pl.DataFrame, config: DataConfig, source: str) -> None:
    """The lowest price and the volatility index may be unknown on some rows, but must be numbers that make sense."""
    numbers = [name for name, kind in table.schema.items() if kind == pl.Float64]
    for key, name in (("data.low", config.low), ("data.volatility_index", config.volatility_index)):
        if name is not None and name not in numbers:
            raise DataError(
                f"{key} must name a numeric column of {source}, got `{name}`; {did_you_mean(name, numbers)}"
            )
    if config.low is None:
        return
    high = config.prices[-1]
    # Polars takes NaN for larger than any number.
    wrong = table.filter(pl.col(config.low).fill_nan(None) > pl.col(high))
    if not wrong.is_empty():
        series, when, low = wrong.select(SERIES, DATE, config.low).row(0)
        raise DataError(
            f"the lowest price must not lie above `{high}`, got {low} in `{config.low}` for {series} on {when} "
            f"({wrong.height} such rows) in {source}; mend these rows, or leave data.low out"
        )


def _check_price(table: pl.DataFrame, price: str, source: str) -> Notes:
    """Refuse prices that are not there; count those that have no logarithm."""
    bad = table.filter(~pl.col(price).is_finite())
    if not bad.is_empty():
        series, when, value = bad.select(SERIES, DATE, price).row(0)
        raise DataError(
            f"the price must be known and finite on every row, got {value} in `{price}` for {series} on {when} "
            f"({bad.height} such rows) in {source}; drop or mend these rows (data.policy.missing_price drop leaves "
            "them out)"
        )
    low = table.filter(pl.col(price) <= 0)
    if low.is_empty():
        return ()
    series, when, value = low.select(SERIES, DATE, price).row(0)
    return (
        f"`{price}`: {low.height} prices of 0 or below, the first {value} for {series} on {when}; logarithms and "
        "ratios refuse them, differences do not",
    )
