"""What a person says about their data."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from raytrain.config import Section
from raytrain.data.bigquery_config import BigQueryConfig
from raytrain.data.policy import PolicyConfig
from raytrain.errors import DataError, did_you_mean

Kind = Literal["demo", "parquet", "csv", "snapshot", "duckdb", "bigquery"]


class DataConfig(Section):
    """A table of bars: one row per series and date."""

    kind: Kind = "demo"
    """Where the table comes from: `demo` (bars inside the arch package), Parquet or CSV (a file, or a folder with a
    file per symbol), a folder that `raytrain.jobs.export` wrote, a DuckDB query, a BigQuery table."""
    path: str | None = None
    """File, folder or URL (`gs://`, `s3://`) to read; of `duckdb` the database, or nothing for one in memory."""
    query: str | None = None
    """What `duckdb` is asked: one SELECT."""
    bigquery: BigQueryConfig = BigQueryConfig()
    date: str = "date"
    """Column with the row's date or time."""
    series: str = "series_id"
    """Column that names the series; a table without `series_id` is one series, named like the file."""
    price: str = "close"
    """Column that targets are made of."""
    high: str | None = None
    """Column with the row's highest price, for threshold targets; `price` when not given."""
    low: str | None = None
    """Column with the row's lowest price: with `high`, volatility forecasts read the range too."""
    volatility_index: str | None = None
    """Column with a volatility index in percent a year, such as `vix`: volatility forecasts read it."""
    columns: tuple[str, ...] = ()
    """Columns to read beside date, series, price and high; all of them when empty."""
    exclude: tuple[str, ...] = ()
    """Columns to leave out; price and high stay."""
    first_date: datetime.date | None = None
    """Rows before this date are not read."""
    last_date: datetime.date | None = None
    """Rows after this date are not read: yesterday's run again."""
    periods_per_year: float = Field(252.0, gt=0)
    """Rows of one series in a year, for annualised figures: 252 for daily bars, 8766 for hours around the clock."""
    policy: PolicyConfig = PolicyConfig()

    @model_validator(mode="after")
    def _range_needs_both_ends(self) -> Self:
        if self.low is not None and self.high is None:
            raise ValueError(f"`low` ({self.low}) needs `high`: a range has two ends; name it, or leave `low` out")
        return self

    @property
    def prices(self) -> tuple[str, ...]:
        """The price column, and the one of the highest price when it is another."""
        return tuple(dict.fromkeys((self.price, self.high or self.price)))

    @field_validator("path", mode="before")
    @classmethod
    def _path_as_text(cls, path: object) -> object:
        return str(path) if isinstance(path, Path) else path

    def wanted(self, available: Sequence[str]) -> list[str]:
        """Those of the columns at the source that are read, in their order.

        Raises:
            DataError: a column named in `columns` is not there.
        """
        for name in self.columns:
            if name not in available:
                raise DataError(
                    f"data.columns must name columns of the source, got `{name}`; {did_you_mean(name, available)}"
                )
        if not self.columns:
            return list(available)
        always = {self.date, self.series, *self.prices, self.low, self.volatility_index}
        return [name for name in available if name in always or name in self.columns]
