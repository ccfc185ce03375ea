"""DuckDB itself: a database is opened for reading, a query may name files, what fails is one message."""

import datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.data import DataConfig, load
from raytrain.data.duckdb_source import DuckDBSource
from raytrain.errors import ConfigError, DataError


@pytest.fixture
def database(bars: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "oil.duckdb"
    bars.write_parquet(tmp_path / "bars.parquet")
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE bars AS SELECT * FROM '{tmp_path / 'bars.parquet'}'")
    return path


def test_a_table_of_a_database(database: Path, bars: pl.DataFrame) -> None:
    config = DataConfig(kind="duckdb", path=database, query="SELECT * FROM bars;")
    rows = DuckDBSource(config).read(bars.columns)
    assert_frame_equal(rows.sort("series_id", "date"), bars)
    assert rows["date"].is_sorted()


def test_pieces_begin_where_they_are_asked_to(database: Path) -> None:
    source = DuckDBSource(DataConfig(kind="duckdb", path=database, query="SELECT * FROM bars"))
    since = datetime.date(2020, 1, 28)
    assert pl.concat(source.batches(["date"], since))["date"].unique().to_list() == [
        since + datetime.timedelta(days=i) for i in range(3)
    ]
    assert str(since) in source.describe(["date"], since)


def test_one_series_is_named_like_the_database(database: Path) -> None:
    query = "SELECT date, close FROM bars WHERE series_id = 'A'"
    assert load(DataConfig(kind="duckdb", path=database, query=query)).series == ["oil"]


def test_the_database_is_not_written(database: Path) -> None:
    source = DuckDBSource(DataConfig(kind="duckdb", path=database, query="DROP TABLE bars"))
    with pytest.raises(DataError, match=r"data\.query must be a SELECT that DuckDB can answer"):
        source.read(["date"])
    with duckdb.connect(str(database), read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM bars").fetchall() == [(60,)]


@pytest.mark.parametrize("query", ["SELECT * FROM nothing", "SELEC", "SELECT * FROM bars; SELECT 1"])
def test_a_query_that_cannot_be_answered_is_refused(query: str, database: Path) -> None:
    with pytest.raises(DataError) as error:
        load(DataConfig(kind="duckdb", path=database, query=query))
    assert "data.query must be a SELECT that DuckDB can answer" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_query_is_needed(database: Path) -> None:
    with pytest.raises(ConfigError, match=r"add `--data\.query 'SELECT \.\.\.'`"):
        load(DataConfig(kind="duckdb", path=database))
