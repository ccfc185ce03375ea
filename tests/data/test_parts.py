"""A packed CSV part gives back what was written, or is refused."""

import datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from raytrain.data.parts import read_part, write_csv_part
from raytrain.errors import DataError

MOMENTS = [datetime.datetime(2020, 1, 1, 1, 2, 3, 456789), datetime.datetime(1700, 6, 1), None]
TABLE = pl.DataFrame(
    {
        "whole": [1, None, -(2**62)],
        "float": [0.1 + 0.2, float("nan"), None],
        "far": [float("inf"), -0.0, 1e-300],
        "flag": [True, None, False],
        "text": ["a", None, 'x,"y\nz'],
        "empty": ["", None, " "],
        "day": [datetime.date(2020, 1, 1), None, datetime.date(1700, 1, 1)],
        "time": MOMENTS,
    }
).with_columns(
    short=pl.col("float").cast(pl.Float32),
    nano=pl.col("time").cast(pl.Datetime("ns")),
    milli=pl.col("time").cast(pl.Datetime("ms")),
    zoned=pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York"),
)


def back(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    write_csv_part(table, path)
    return read_part(path.read_bytes(), path.name, {name: str(kind) for name, kind in table.schema.items()})


def test_every_type_comes_back(tmp_path: Path) -> None:
    assert_frame_equal(back(TABLE, tmp_path / "part.csv.gz"), TABLE, check_exact=True)


@settings(max_examples=25)
@given(numbers=st.lists(st.floats() | st.none(), min_size=1), text=st.text())
def test_every_number_comes_back(
    numbers: list[float | None], text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = pl.DataFrame({"x": pl.Series(numbers, dtype=pl.Float64), "text": text})
    try:
        found = back(table, tmp_path_factory.mktemp("part") / "part.csv.gz")
    except DataError:
        return
    assert_frame_equal(found, table, check_exact=True)


def test_a_type_that_csv_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got `list` as List\(Int64\); use parquet"):
        write_csv_part(pl.DataFrame({"list": [[1]]}), tmp_path / "part.csv.gz")
