"""What a DuckDB query gives."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import polars as pl

from raytrain.data.config import DataConfig
from raytrain.data.files import BATCH_ROWS
from raytrain.errors import ConfigError, DataError


@dataclass(frozen=True)
class DuckDBSource:
    """One SELECT, over a database file that is opened read-only, or over files that the query names."""

    config: DataConfig

    def __post_init__(self) -> None:
        if not self.config.query:
            raise ConfigError("data.query must be given when data.kind is duckdb; add `--data.query 'SELECT ...'`")

    @property
    def name(self) -> str:
        """What the one series of a table without a series column is called."""
        return Path(self.config.path).stem if self.config.path else "duckdb"

    @property
    def place(self) -> str:
        """Where the rows come from."""
        return f"the DuckDB query in {self.config.path or 'memory'}"

    def describe(self, columns: Sequence[str], since: date | None) -> str:
        """The query as it is asked."""
        value = f" (? is {since})" if since else ""
        return f"duckdb {self.config.path or 'in memory'}: {self._select(columns, since)}{value}"

    def columns(self) -> list[str]:
        """The columns that the query gives."""
        with self._asked(f"SELECT * FROM ({self._query}) AS asked") as answer:  # noqa: S608
            return list(answer.columns)

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """Everything that the query gives, by date."""
        return pl.concat(self.batches(columns, None)).sort(self.config.date, maintain_order=True)

    def batches(self, columns: Sequence[str], since: date | None) -> Iterator[pl.DataFrame]:
        """What the query gives in pieces, at least one; only rows from `since` on."""
        with self._asked(self._select(columns, since), *([since] if since else [])) as answer:
            reader = answer.to_arrow_reader(BATCH_ROWS)
            yield cast(pl.DataFrame, pl.from_arrow(reader.schema.empty_table()))
            for batch in reader:
                yield cast(pl.DataFrame, pl.from_arrow(batch))

    @property
    def _query(self) -> str:
        return (self.config.query or "").strip().rstrip(";")

    def _select(self, columns: Sequence[str], since: date | None) -> str:
        names, day = ", ".join(_quoted(name) for name in columns), _quoted(self.config.date)
        where = f" WHERE {day} >= ?" if since else ""
        # The query is the person's own, and names are quoted.
        return f"SELECT {names} FROM ({self._query}) AS asked{where}"  # noqa: S608

    @contextmanager
    def _asked(self, sql: str, *values: date) -> Iterator[Any]:
        try:
            import duckdb
        except ImportError:
            raise ConfigError(
                "data.kind duckdb needs the package duckdb; install raytrain with the extra `duckdb`"
            ) from None
        path = self.config.path
        # Whatever the query names, nothing is downloaded to answer it.
        options: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
        try:
            with duckdb.connect(path or ":memory:", read_only=path is not None, config=options) as connection:
                yield connection.sql(sql, params=values)
        except duckdb.Error as error:
            first_line = str(error).partition("\n")[0]
            raise DataError(f"data.query must be a SELECT that DuckDB can answer, got: {first_line}") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
