"""Rows of a stream, sorted into one Parquet file per year in bounded memory."""

from pathlib import Path
from typing import Any, Self

import polars as pl

from raytrain.data.parts import Compression
from raytrain.errors import DataError

HELD_VALUES = 2**20
"""What waits in memory to be written, in cells of the table."""
EXPORTED_AT = "exported_at"
"""A column of this name says which of two rows of one key is the newer."""


class YearParts:
    """Files `<year>.parquet` in a folder. Within a file, the rows of a series rise by date, each date once."""

    def __init__(self, folder: Path, keys: list[str], compression: Compression, source: str) -> None:
        self.folder = folder
        self.keys = keys
        """The date column, and the series column if there is one."""
        self.rows = 0
        self.merged = 0
        """Rows that were left out because an equal one, or a newer one of the same key, is there."""
        self._compression, self._source = compression, source
        self._schema: pl.Schema | None = None
        self._held: dict[int, list[pl.DataFrame]] = {}
        self._held_rows = 0
        self._writers: dict[int, Any] = {}
        self._newest: dict[Any, Any] = {}
        """Series -> its newest date so far."""
        self._disordered: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            for year in list(self._held):
                self._flush(year)
        for writer in self._writers.values():
            writer.close()
        if kind is None:
            for year in sorted(self._disordered):
                self._put_in_order(year)

    @property
    def paths(self) -> dict[int, Path]:
        """Year -> file, earliest first."""
        return {year: self._path(year) for year in sorted(self._writers)}

    def add(self, batch: pl.DataFrame) -> None:
        """Take the next rows.

        Raises:
            DataError: a row has no date or no series, or the columns change on the way.
        """
        self._check(batch)
        if batch.is_empty():
            return
        years = batch[self.keys[0]].dt.year()
        if not self._rises(batch):
            self._disordered |= set(years)
        by_year = batch.with_columns(years.alias("\0year")).partition_by("\0year", as_dict=True, include_key=False)
        for (year,), rows in by_year.items():
            self._held.setdefault(year, []).append(rows)
        self.rows += batch.height
        self._held_rows += batch.height
        while self._held_rows * batch.width > HELD_VALUES:
            self._flush(max(self._held, key=lambda year: sum(rows.height for rows in self._held[year])))

    def _check(self, batch: pl.DataFrame) -> None:
        self._schema = self._schema or batch.schema
        if batch.schema != self._schema:
            raise DataError(f"all rows of {self._source} must have the same columns and types, got two kinds; mend it")
        for name in self.keys:
            if count := batch[name].null_count():
                raise DataError(
                    f"every row must have a {name}, got {count} without in {self._source}; drop or mend them"
                )

    def _rises(self, batch: pl.DataFrame) -> bool:
        """Whether each row is later than those of its series before it."""
        day, *series = self.keys
        ends = batch.group_by(series or pl.lit(0)).agg(pl.first(day).alias("first"), pl.max(day).alias("newest"))
        later = all(name not in self._newest or first > self._newest[name] for name, first, _ in ends.iter_rows())
        self._newest |= {name: max(newest, self._newest.get(name, newest)) for name, _, newest in ends.iter_rows()}
        step = pl.col(day) > pl.col(day).shift(1)
        return later and bool(batch.select((step.over(series) if series else step).all()).item())

    def _flush(self, year: int) -> None:
        rows = pl.concat(self._held.pop(year))
        self._held_rows -= rows.height
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if year not in self._writers:
            self._writers[year] = self._writer(year, table.schema)
        self._writers[year].write_table(table)

    def _writer(self, year: int, schema: Any) -> Any:
        import pyarrow.parquet as pq

        # A dictionary stays in memory while its file is open, and of numbers it is about as large as they are.
        texts = [name for name, kind in (self._schema or {}).items() if kind == pl.String]
        return pq.ParquetWriter(self._path(year), schema, compression=self._compression, use_dictionary=texts)

    def _put_in_order(self, year: int) -> None:
        rows = pl.read_parquet(self._path(year))
        table = one_per_key(rows, self.keys, self._source)
        self.merged += rows.height - table.height
        table.write_parquet(self._path(year), compression=self._compression)

    def _path(self, year: int) -> Path:
        return self.folder / f"{year:04d}.parquet"


def one_per_key(rows: pl.DataFrame, keys: list[str], source: str) -> pl.DataFrame:
    """Rows by date and series, each key once: equal rows are one, and the newer `exported_at` wins.

    Raises:
        DataError: two rows of a key differ, and no `exported_at` says which one is newer.
    """
    rows = rows.unique(maintain_order=True)
    if EXPORTED_AT in rows.columns:
        rows = rows.sort(EXPORTED_AT, maintain_order=True).unique(keys, keep="last", maintain_order=True)
    twice = rows.filter(pl.struct(keys).is_duplicated())
    if not twice.is_empty():
        key = ", ".join(f"{name} {twice[name][0]}" for name in keys)
        raise DataError(
            f"a series may have one row per date, got different ones for {key} ({twice.height} such rows) in {source}; "
            f"keep one of them, name the series column in data.series, or give the table a column `{EXPORTED_AT}`"
        )
    return rows.sort(keys)
