"""Real daily bars that ship inside the `arch` package, so that the demo needs no download."""

from importlib.util import find_spec
from pathlib import Path

import polars as pl

from raytrain.errors import DataError


def load_demo() -> pl.DataFrame:
    """S&P 500 and NASDAQ daily bars 1999-2018 as two series, with WTI crude and VIX beside each.

    Columns: series_id, date, open, high, low, close, volume, wti (US dollars a barrel), vix (from 2014). A price
    that was not quoted on a day is null; nothing is filled.

    Raises:
        DataError: the arch package is not installed.
    """
    bars = [_read(name).with_columns(pl.lit(name.upper()).alias("series_id")) for name in ("sp500", "nasdaq")]
    table = pl.concat(bars).select("series_id", "date", "open", "high", "low", "close", "volume")
    for name in ("wti", "vix"):
        quotes = _read(name)
        quotes.columns = ["date", name]
        table = table.join(quotes, on="date", how="left")
    return table.sort("series_id", "date")


def _read(name: str) -> pl.DataFrame:
    # Read as a file: importing arch would load statsmodels for a second and tell nothing more.
    spec = find_spec("arch")
    if spec is None or spec.origin is None:
        raise DataError("data.kind demo must find the arch package, got none; install it or name your own data.path")
    path = Path(spec.origin).parent / "data" / name / f"{name}.csv.gz"
    table = pl.read_csv(path, null_values=".").rename(str.lower)
    return table.with_columns(pl.col("date").str.to_date("%-m/%-d/%Y"))
