"""What a person says about their data."""

import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from raytrain.config import Section

Kind = Literal["demo", "parquet", "csv", "snapshot"]


class DataConfig(Section):
    """A table of bars: one row per series and date."""

    kind: Kind = "demo"
    """Where the table comes from: `demo` (bars inside the arch package), a Parquet or CSV file, a snapshot folder."""
    path: Path | None = None
    """File or folder to read; not used by `demo`."""
    date: str = "date"
    """Column with the row's date or time."""
    series: str = "series_id"
    """Column that names the series; a table without `series_id` is one series, named like the file."""
    price: str = "close"
    """Column that targets are made of."""
    high: str | None = None
    """Column with the row's highest price, for threshold targets; `price` when not given."""
    exclude: tuple[str, ...] = ()
    """Columns to leave out; price and high stay."""
    first_date: datetime.date | None = None
    """Rows before this date are not read."""
    last_date: datetime.date | None = None
    """Rows after this date are not read: yesterday's run again."""
    periods_per_year: float = Field(252.0, gt=0)
    """Rows of one series in a year, for annualised figures: 252 for daily bars, 8766 for hours around the clock."""
