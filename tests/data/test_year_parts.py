"""Rows of a stream end in the file of their year, in order and once, however they come."""

import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from raytrain.data import year_parts
from raytrain.data.year_parts import YearParts, one_per_key
from raytrain.errors import DataError

KEYS = ["date", "series"]


def panel(days: int) -> pl.DataFrame:
    dates = [datetime.date(2018, 12, 1) + datetime.timedelta(days=i) for i in range(days)]
    parts = [pl.DataFrame({"series": name, "date": dates, "x": range(days)}) for name in ("A", "B")]
    return pl.concat(parts)


def parts_of(batches: list[pl.DataFrame], folder: Path, keys: list[str] = KEYS) -> YearParts:
    with YearParts(folder, keys, "zstd", "the test") as parts:
        for batch in batches:
            parts.add(batch)
    return parts


@settings(max_examples=30)
@given(data=st.data())
def test_any_order_gives_the_same_files(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Rows in any order, in any pieces, some of them twice."""
    rows = panel(60)
    order = data.draw(st.permutations(range(rows.height)))
    again = data.draw(st.lists(st.integers(0, rows.height - 1), max_size=5))
    size = data.draw(st.integers(1, 200))
    mixed = rows[order + again]
    folder = tmp_path_factory.mktemp("parts")
    parts = parts_of([mixed[i : i + size] for i in range(0, mixed.height, size)], folder)
    found = {year: pl.read_parquet(path).sort(KEYS) for year, path in parts.paths.items()}
    assert list(found) == [2018, 2019]
    assert_frame_equal(pl.concat(found.values()), rows.sort(KEYS))
    assert parts.merged == len(again)
    for path in parts.paths.values():
        table = pl.read_parquet(path)
        assert all(table.filter(series=name)["date"].is_sorted() for name in ("A", "B"))


def test_rows_in_order_are_written_as_they_come(tmp_path: Path) -> None:
    rows = panel(60)
    parts = parts_of([rows[:50], rows[50:]], tmp_path)
    assert_frame_equal(pl.read_parquet(parts.paths[2019]), rows.filter(pl.col("date").dt.year() == 2019))


def test_little_waits_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(year_parts, "HELD_VALUES", 30)
    rows = panel(60)
    with YearParts(tmp_path, KEYS, "zstd", "the test") as parts:
        for i in range(0, rows.height, 5):
            parts.add(rows[i : i + 5])
            assert sum(piece.height for held in parts._held.values() for piece in held) <= 10
    assert_frame_equal(pl.concat([pl.read_parquet(path) for path in parts.paths.values()]).sort(KEYS), rows.sort(KEYS))


def test_one_series_needs_no_name(tmp_path: Path) -> None:
    rows = panel(60).filter(series="A").drop("series")
    parts = parts_of([rows[30:], rows[:30]], tmp_path, ["date"])
    assert_frame_equal(pl.concat([pl.read_parquet(path) for path in parts.paths.values()]), rows)


@pytest.mark.parametrize("name", KEYS)
def test_a_row_without_a_key_is_refused(name: str, tmp_path: Path) -> None:
    empty = pl.lit(None, dtype=panel(3).schema[name]).alias(name)
    with pytest.raises(DataError, match=f"every row must have a {name}, got 1 without in the test"):
        parts_of([panel(3)[:1].with_columns(empty)], tmp_path)


def test_two_rows_of_one_key_are_refused(tmp_path: Path) -> None:
    rows = panel(3)
    with pytest.raises(DataError, match="got different ones for date 2018-12-01, series A"):
        parts_of([rows, rows.with_columns(pl.col("x") + 1)], tmp_path)


def test_the_newer_row_wins_where_rows_say_when_they_are_from() -> None:
    rows = panel(3).with_columns(exported_at=pl.lit(2))
    older = rows.with_columns(pl.col("x") + 9, exported_at=pl.lit(1))
    assert_frame_equal(one_per_key(pl.concat([rows, older]), KEYS, "the test"), rows.sort(KEYS))
    assert_frame_equal(one_per_key(pl.concat([older, rows]), KEYS, "the test"), rows.sort(KEYS))


def test_columns_that_change_on_the_way_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must have the same columns and types"):
        parts_of([panel(3), panel(3).cast({"x": pl.Float64})], tmp_path)
