"""The bars inside the arch package, checked against published closes."""

import datetime
import subprocess
import sys

import polars as pl

from raytrain.data import DataConfig, load
from raytrain.data.demo import load_demo


def test_what_the_bars_are() -> None:
    table = load_demo()
    assert table.columns == ["series_id", "date", "open", "high", "low", "close", "volume", "wti", "vix"]
    spans = table.group_by("series_id").agg(
        pl.len(), pl.col("date").min().alias("first"), pl.col("date").max().alias("last")
    )
    first, last = datetime.date(1999, 1, 4), datetime.date(2018, 12, 31)
    assert sorted(spans.rows()) == [("NASDAQ", 5031, first, last), ("SP500", 5031, first, last)]


def test_closes_as_they_were_published() -> None:
    frame = load(DataConfig(high="high"))
    rows = frame.table.filter(pl.col("date") == datetime.datetime(2008, 9, 15)).rows_by_key("series_id", named=True)
    sp500, nasdaq = rows["SP500"][0], rows["NASDAQ"][0]
    assert round(sp500["close"], 2) == 1192.70
    assert round(nasdaq["close"], 2) == 2179.91
    assert round(sp500["wti"], 2) == 95.52


def test_highs_are_highs() -> None:
    table = load_demo()
    assert table.filter((pl.col("high") < pl.col("close")) | (pl.col("low") > pl.col("close"))).is_empty()


def test_nothing_is_filled() -> None:
    table = load_demo().filter(series_id="SP500")
    quoted = table.filter(pl.col("vix").is_not_null())["date"].min()
    assert quoted == datetime.date(2014, 1, 3)
    assert table["wti"].null_count() == 19


def test_reading_them_does_not_import_arch() -> None:
    code = "import sys; from raytrain.data.demo import load_demo; load_demo(); sys.exit('arch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
