"""The frame contract: every refusal with its rule, value and way out; equal tables have equal hashes."""

import datetime
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import make_frame
from raytrain.errors import DataError

Change = Callable[[pl.DataFrame], pl.DataFrame]


def frame(table: pl.DataFrame, **config: object) -> Frame:
    return make_frame(table, DataConfig.model_validate(config), "bars.parquet", "bars")


def at(row: int, value: object, column: str = "close") -> Change:
    """Replace one value."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        here = pl.int_range(pl.len()) == row
        return table.with_columns(pl.when(here).then(pl.lit(value)).otherwise(column).alias(column))

    return change


def test_the_contract(bars: pl.DataFrame) -> None:
    found = frame(bars, high="high")
    assert found.table.schema == pl.Schema(
        {"series_id": pl.String, "date": pl.Datetime("us")}
        | {name: pl.Float64() for name in ("close", "high", "spread", "is_roll")}
        | {"regime": pl.String()}
    )
    assert found.columns == ["close", "high", "spread", "is_roll"]
    assert (found.texts, found.notes) == (["regime"], ())
    assert (found.series, found.left_out, found.price, found.high) == (["A", "B"], ("regime",), "close", "high")
    assert found.table["is_roll"].to_list()[:6] == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert np.isnan(found.table["spread"].to_numpy()).sum() == bars["spread"].null_count()
    assert found.table.null_count().sum_horizontal().item() == 0


def test_series_may_lie_in_any_order_when_each_rises(bars: pl.DataFrame) -> None:
    interleaved = bars.sort("date", "series_id", descending=[False, True])
    assert frame(interleaved).table.equals(frame(bars).table)


def test_without_a_series_column_the_table_is_one_series(bars: pl.DataFrame) -> None:
    found = frame(bars.filter(series_id="A").drop("series_id"))
    assert found.series == ["bars"]


def test_own_names_of_columns(bars: pl.DataFrame) -> None:
    renamed = bars.rename({"series_id": "symbol", "date": "ts", "close": "last"})
    found = frame(renamed, series="symbol", date="ts", price="last")
    assert found.columns == ["last", "high", "spread", "is_roll"]
    assert found.table.rename({"last": "close"}).equals(frame(bars).table)


def test_numbers_as_series_names(bars: pl.DataFrame) -> None:
    numbered = bars.with_columns(series_id=pl.when(pl.col("series_id") == "A").then(7).otherwise(8))
    assert frame(numbered).series == ["7", "8"]


def test_times_with_a_zone_become_utc(bars: pl.DataFrame) -> None:
    local = bars.with_columns(pl.col("date").cast(pl.Datetime("ns")).dt.replace_time_zone("America/Chicago"))
    assert frame(local).table["date"][0] == datetime.datetime(2020, 1, 1, 6)
    # The day that counts is the UTC one: midnight in Sydney is the day before.
    eastern = bars.with_columns(pl.col("date").cast(pl.Datetime).dt.replace_time_zone("Australia/Sydney"))
    kept = frame(eastern, first_date="2020-01-05", last_date="2020-01-05").table["date"]
    assert kept.unique().to_list() == [datetime.datetime(2020, 1, 5, 13)]


def test_first_and_last_date_are_included(bars: pl.DataFrame) -> None:
    kept = frame(bars, first_date="2020-01-03", last_date="2020-01-05").table["date"].unique().sort()
    assert [day.day for day in kept] == [3, 4, 5]


def test_excluded_columns_are_gone_but_never_the_price(bars: pl.DataFrame) -> None:
    found = frame(bars, exclude=("spread", "regime", "close"))
    assert (found.columns, found.left_out) == (["close", "high", "is_roll"], ())


def test_infinity_beside_the_price_is_kept_and_counted_or_masked(bars: pl.DataFrame) -> None:
    bad = at(40, float("-inf"), "spread")(at(3, float("inf"), "spread")(bars))
    kept, masked = frame(bad), frame(bad, policy={"infinite": "mask"})
    assert kept.table["spread"][3] == float("inf")
    assert kept.notes == ("`spread`: 2 infinite values are kept; no feature can be made of them",)
    assert masked.table["spread"].gather([3, 40]).is_nan().all()
    assert masked.notes == ("`spread`: 2 infinite values became unknown",)
    assert masked.content_hash() == frame(at(40, None, "spread")(at(3, None, "spread")(bars))).content_hash()


def test_an_infinite_price_is_masked_only_to_be_missing(bars: pl.DataFrame) -> None:
    bad = at(2, float("inf"))(bars)
    with pytest.raises(DataError, match="got nan in `close` for A on 2020-01-03"):
        frame(bad, policy={"infinite": "mask"})
    found = frame(bad, policy={"infinite": "mask", "missing_price": "drop"})
    assert found.notes == ("`close`: 1 infinite values became unknown", "1 rows without a close are left out")
    assert found.table.equals(frame(bars).table.filter(pl.int_range(pl.len()) != 2))


def test_rows_without_a_price_or_a_high_are_dropped_when_that_is_said(bars: pl.DataFrame) -> None:
    bad = at(2, float("nan"))(at(7, None, "high")(bars))
    found = frame(bad, high="high", policy={"missing_price": "drop"})
    assert found.table.height == 58
    assert found.notes == ("2 rows without a close or high are left out",)


@pytest.mark.parametrize("value", [0.0, -37.63])
def test_prices_without_a_logarithm_are_counted(value: float, bars: pl.DataFrame) -> None:
    """WTI in April 2020: a frame may hold it, and what takes logarithms of it refuses."""
    found = frame(at(4, value)(bars))
    assert found.table["close"][4] == value
    said = f"`close`: 1 prices of 0 or below, the first {value} for A on 2020-01-05 00:00:00; logarithms and ratios"
    assert [note.startswith(said) for note in found.notes] == [True]


def test_equal_rows_are_merged_when_that_is_said(bars: pl.DataFrame) -> None:
    """Unknown equals unknown, and the copies may lie anywhere; rows that differ are refused all the same."""
    merge = {"policy": {"duplicates": "merge_exact"}}
    found = frame(pl.concat([bars, bars.slice(2, 3)]), **merge)
    assert found.notes == ("3 rows that repeat another one in every column are left out",)
    assert found.content_hash() == frame(bars).content_hash()
    assert frame(bars, **merge).notes == ()
    with pytest.raises(DataError, match=r"one row per date, got 2 for A on 2020-01-06"):
        frame(pl.concat([bars, at(5, "storm", "regime")(bars).slice(5, 1)]), **merge)


def test_headers_have_one_form(bars: pl.DataFrame) -> None:
    odd = bars.rename({"date": "\ufeffdate", "spread": " ka\u0308se", "close": "prix d'\u00e9t\u00e9"})
    found = frame(odd, price="prix d'\u00e9t\u00e9")
    assert found.columns == ["prix d'\u00e9t\u00e9", "high", "k\u00e4se", "is_roll"]


def test_texts_become_numbers_when_that_is_said(bars: pl.DataFrame) -> None:
    written = bars.with_columns(
        pl.col("close").cast(pl.String),
        spread=pl.col("spread").cast(pl.String).fill_null("n.a."),
        code=pl.lit("202003"),
    )
    with pytest.raises(DataError, match=r"the column `close` must hold numbers, got String such as '10\.0'"):
        frame(written)
    found = frame(written.with_columns(bars["close"]), exclude=("spread",))
    assert (found.texts, found.left_out) == (["regime", "code"], ("code", "regime"))
    found = frame(written, exclude=("code",), policy={"text_numbers": "convert"})
    assert found.content_hash() == frame(bars).content_hash()
    assert found.notes == (
        "`close`: 60 texts became numbers",
        "`spread`: 52 texts became numbers; 8 that are none, such as 'n.a.', became unknown",
    )


def test_clean_columns_are_shared_not_copied() -> None:
    """A frame of a sorted table costs a few bytes a row, whatever the number of columns."""
    values = np.random.default_rng(1).random(1000) + 1
    values[7] = np.nan
    days = pl.datetime_range(pl.datetime(2000, 1, 1), pl.datetime(2002, 9, 26), "1d", eager=True)
    table = pl.DataFrame({"series_id": ["A"] * 1000, "date": days, "close": 1.0, "other": values})
    found = frame(table)
    assert found.table["other"].to_numpy().ctypes.data == table["other"].to_numpy().ctypes.data


REFUSED: dict[str, tuple[Change, dict[str, object], list[str]]] = {
    "no price column": (
        lambda t: t.rename({"close": "closing"}),
        {},
        ["data.price must name a column of bars.parquet, got `close`", "did you mean `closing`?", "spread"],
    ),
    "no date column": (lambda t: t, {"date": "dat"}, ["data.date must", "got `dat`; did you mean `date`?"]),
    "no high column": (lambda t: t, {"high": "hihg"}, ["data.high must", "did you mean `high`?"]),
    "no series column": (lambda t: t, {"series": "serie_id"}, ["data.series must", "did you mean `series_id`?"]),
    "no excluded column": (lambda t: t, {"exclude": ("spred",)}, ["data.exclude must", "did you mean `spread`?"]),
    "NaN price": (
        at(31, float("nan")),
        {},
        ["must be known and finite on every row, got nan in `close` for B on 2020-01-02", "drop or mend"],
    ),
    "null price": (at(31, None), {}, ["got nan in `close` for B on 2020-01-02", "(1 such rows)"]),
    "infinite price": (at(2, float("-inf")), {}, ["got -inf in `close` for A on 2020-01-03"]),
    "NaN high": (at(2, float("nan"), "high"), {"high": "high"}, ["got nan in `high` for A on 2020-01-03"]),
    "text as price": (lambda t: t, {"price": "regime"}, ["`regime` must hold numbers, got String"]),
    "date as price": (lambda t: t, {"price": "date"}, ["`date` must hold numbers beside the keys, got Date"]),
    "own date as price": (
        lambda t: t.rename({"date": "ts"}),
        {"date": "ts", "price": "ts"},
        ["`ts` must hold numbers beside the keys, got Date"],
    ),
    "text as high": (lambda t: t, {"high": "regime"}, ["`regime` must hold numbers, got String"]),
    "duplicates": (
        lambda t: pl.concat([t, t.slice(4, 2)]),
        {},
        ["one row per date, got 2 for A on 2020-01-05 00:00:00 (2 such dates)", "keep one", "data.series"],
    ),
    "two names that look the same": (
        lambda t: t.with_columns(pl.lit(1.0).alias("k\u00e4se"), pl.lit(2.0).alias("ka\u0308se ")),
        {},
        ["each column needs a name of its own, got `k\u00e4se` twice in bars.parquet; rename one"],
    ),
    "a name twice in a CSV": (
        lambda t: t.with_columns(pl.lit(1.0).alias("spread_duplicated_0")),
        {},
        ["got `spread` twice"],
    ),
    "unsorted": (
        lambda t: t.reverse(),
        {},
        ["dates must rise within a series, got 2020-01-29 00:00:00 after a later one for B", "sort it"],
    ),
    "no date in a row": (at(5, None, "date"), {}, ["every row must have a date, got 1 without", "drop or mend"]),
    "no series in a row": (at(5, None, "series_id"), {}, ["every row must have a series_id, got 1 without"]),
    "text as dates": (
        lambda t: t.with_columns(date=pl.lit("Epiphany")),
        {},
        ["`date` must hold dates or times, got String such as 'Epiphany' (60 such rows)", "YYYY-MM-DD"],
    ),
    "days that may be months": (
        lambda t: t.with_columns(date=pl.lit("01.02.2020")),
        {},
        ["`date` must tell the day from the month, got only such as '01.02.2020'", "data.policy.date_order day_first"],
    ),
    "numbers as dates": (lambda t: t.with_columns(date=pl.int_range(pl.len())), {}, ["got Int64"]),
    "a placeholder date": (
        at(29, datetime.date(9999, 12, 31), "date"),
        {},
        ["between 1800 and 2100, got the year 9999 (1 such rows)", "drop or mend"],
    ),
    "a date beyond all calendars": (
        lambda t: t.with_columns(date=pl.Series([2**31 - 1] * t.height, dtype=pl.Int32).cast(pl.Date)),
        {},
        ["every row must have a date, got 60 without"],
    ),
    "no rows": (lambda t: t.head(0), {}, ["must have rows, got 0 from bars.parquet"]),
    "no rows in the dates": (
        lambda t: t,
        {"first_date": "2021-01-01"},
        ["must have rows, got 0", "look at data.first_date"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, bars: pl.DataFrame) -> None:
    change, config, said = REFUSED[name]
    with pytest.raises(DataError) as error:
        frame(change(bars), **config)
    assert [part for part in said if part not in str(error.value)] == [], str(error.value)
    assert "\n" not in str(error.value)


def test_hash_does_not_see_how_the_table_was_stored(bars: pl.DataFrame) -> None:
    expected = frame(bars).content_hash()
    shuffled_series = pl.concat([bars.filter(series_id="B"), bars.filter(series_id="A")])
    assert frame(shuffled_series).content_hash() == expected
    assert frame(bars.select(reversed(bars.columns))).content_hash() == expected
    assert frame(bars.with_columns(pl.col("spread").fill_null(float("nan")))).content_hash() == expected
    assert frame(bars.with_columns(pl.col("date").cast(pl.Datetime("ms", "UTC")))).content_hash() == expected


@pytest.mark.parametrize("kind", [pl.Categorical(), pl.Enum(["storm", "calm"])], ids=str)
def test_hash_does_not_see_how_words_were_stored(kind: pl.DataType, bars: pl.DataFrame) -> None:
    words = at(3, None, "regime")(bars).with_columns(empty=pl.lit(None, dtype=pl.String))
    stored = words.with_columns(pl.col("regime").cast(kind))
    assert frame(stored).texts == ["regime", "empty"]
    assert frame(stored).content_hash() == frame(words).content_hash()


def test_hash_does_not_see_the_bits_of_a_nan(bars: pl.DataFrame) -> None:
    negative_nan = np.array([0xFFF8000000000001], dtype=np.uint64).view(np.float64)[0]
    values = bars["spread"].fill_null(float("nan")).to_numpy().copy()
    values[np.isnan(values)] = negative_nan
    assert frame(bars.with_columns(spread=values)).content_hash() == frame(bars).content_hash()


@settings(max_examples=30, deadline=None)
@given(row=st.integers(0, 59), column=st.sampled_from(["close", "high", "spread", "is_roll"]), up=st.booleans())
def test_hash_sees_every_value(row: int, column: str, up: bool) -> None:
    rng = np.random.default_rng(1)
    table = pl.DataFrame(
        {
            "series_id": ["A"] * 30 + ["B"] * 30,
            "date": pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 30), eager=True).to_list() * 2,
            **{name: rng.normal(size=60) for name in ("close", "high", "spread", "is_roll")},
        }
    )
    values = table[column].to_numpy().copy()
    values[row] = np.nextafter(values[row], np.inf if up else -np.inf)
    changed = table.with_columns(pl.Series(column, values))
    assert frame(changed).content_hash() != frame(table).content_hash()


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.rename({"spread": "spraed"}),
        lambda t: t.with_columns(pl.col("series_id").replace("A", "C")),
        lambda t: t.with_columns(pl.col("date") + pl.duration(days=1)),
        lambda t: t.head(-1),
        lambda t: t.drop("spread"),
        at(3, 0.0, "spread"),
        at(3, "storm", "regime"),
        at(3, None, "regime"),
        lambda t: t.with_columns(pl.col("regime").replace("calm", "storm")),
    ],
)
def test_hash_sees_every_change_of_the_table(change: Change, bars: pl.DataFrame) -> None:
    assert frame(change(bars)).content_hash() != frame(bars).content_hash()
