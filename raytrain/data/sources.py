"""From a config to a source, and from a source to a checked frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import polars as pl

from raytrain.data.bigquery import BigQuerySource
from raytrain.data.config import DataConfig
from raytrain.data.demo import load_demo
from raytrain.data.duckdb_source import DuckDBSource
from raytrain.data.export_folder import read_newest
from raytrain.data.files import FileSource, from_day, in_batches
from raytrain.data.frame import Frame, make_frame
from raytrain.errors import ConfigError, DataError


class Source(Protocol):
    """Where a table comes from."""

    @property
    def name(self) -> str:
        """What the one series of a table without a series column is called."""

    @property
    def place(self) -> str:
        """Where the rows come from, for messages."""

    def describe(self, columns: Sequence[str], since: date | None) -> str:
        """What exactly is read: the path or the query."""

    def columns(self) -> list[str]:
        """What there is to read."""

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """The whole table."""

    def batches(self, columns: Sequence[str], since: date | None) -> Iterator[pl.DataFrame]:
        """The table in pieces of bounded size, at least one, with typed dates; only rows from `since` on."""


def load(config: DataConfig) -> Frame:
    """Read and check the table that `config` names.

    Raises:
        ConfigError: no path, query or table where one is needed.
        DataError: the source cannot be read, or the table breaks the frame contract.
        SourceUnavailable: BigQuery does not answer.
    """
    source = open_source(config)
    columns = config.wanted(source.columns())
    return make_frame(source.read(columns), config, source.place, source.name)


def open_source(config: DataConfig, job_note: Path | None = None) -> Source:
    """The source of a kind; `job_note` is where a query under way is kept, for whoever starts again.

    Raises:
        ConfigError: no path, query or table where one is needed.
    """
    if config.kind == "demo":
        return TableSource(config, "demo", "the demo bars", load_demo())
    if config.kind == "bigquery":
        return BigQuerySource(config, job_note)
    if config.kind == "duckdb":
        return DuckDBSource(config)
    if config.path is None:
        raise ConfigError(f"data.path must be given when data.kind is {config.kind}; add `--data.path FILE`")
    return _open_snapshot(config, config.path) if config.kind == "snapshot" else FileSource(config)


def _open_snapshot(config: DataConfig, text: str) -> "TableSource":
    path = Path(text).expanduser()
    if not path.exists():
        raise DataError(f"data.path must exist, got {path}")
    name, table = read_newest(path)
    return TableSource(config, name, str(path), table)


@dataclass(frozen=True)
class TableSource:
    """A table that is in memory."""

    config: DataConfig
    name: str
    place: str
    table: pl.DataFrame

    def describe(self, columns: Sequence[str], since: date | None) -> str:
        """Where the table is from."""
        return self.place

    def columns(self) -> list[str]:
        """The columns of the table."""
        return self.table.columns

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """The table as it is."""
        return self.table.select(columns)

    def batches(self, columns: Sequence[str], since: date | None) -> Iterator[pl.DataFrame]:
        """The table in pieces."""
        return in_batches(from_day(self.table.lazy().select(columns), self.config.date, since))
