"""Parquet and CSV: one file, or a folder with a file per symbol, on this machine or behind a URL."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from raytrain.data.config import DataConfig
from raytrain.data.dates import as_times
from raytrain.errors import ConfigError, DataError

BATCH_ROWS = 50_000
ENDINGS = {"parquet": (".parquet", ".pq"), "csv": (".csv", ".csv.gz")}


@dataclass(frozen=True)
class FileSource:
    """A Parquet or CSV table. CSV, text dates and what lies behind a URL are read whole; the rest is streamed."""

    config: DataConfig

    @cached_property
    def _place(self) -> "_Place":
        return _Place.find(self.config.path or "")

    @property
    def name(self) -> str:
        """What the one series of a table without a series column is called."""
        return _stem(self._place.path)

    @property
    def place(self) -> str:
        """Where the rows come from."""
        return str(self.config.path)

    def describe(self, columns: Sequence[str], since: date | None) -> str:
        """The path."""
        return self.place

    def columns(self) -> list[str]:
        """The columns of the table."""
        with self._refusing():
            return self._table.collect_schema().names()

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """The table as it is."""
        with self._refusing():
            return self._table.select(columns).collect()

    def batches(self, columns: Sequence[str], since: date | None) -> Iterator[pl.DataFrame]:
        """The table in pieces, at least one, its dates typed; only rows from `since` on."""
        with self._refusing():
            table = typed_dates(self._table.select(columns), self.config, str(self.config.path))
            yield from in_batches(from_day(table, self.config.date, since))

    @cached_property
    def _table(self) -> pl.LazyFrame:
        if not self._place.is_folder:
            return self._scan(self._place.path)
        paths = self._place.files(ENDINGS[self.config.kind])
        if not paths:
            wanted = " or ".join(ENDINGS[self.config.kind])
            raise DataError(f"data.path must be a {wanted} file or a folder with some, got none in {self.config.path}")
        tables = {path: self._with_series(self._scan(path), _stem(path)) for path in paths}
        kinds: dict[str, Any] = {}
        for path, table in tables.items():
            kinds = _common_types(kinds, table.collect_schema(), path)
        return pl.concat(
            [table.select(pl.col(name).cast(kind) for name, kind in kinds.items()) for table in tables.values()]
        )

    def _scan(self, path: str) -> pl.LazyFrame:
        file = self._place.open(path)
        if self.config.kind == "parquet":
            return pl.scan_parquet(file, glob=False)
        return pl.read_csv(file, **self.config.policy.csv_options()).lazy()

    def _with_series(self, table: pl.LazyFrame, stem: str) -> pl.LazyFrame:
        if self.config.series in table.collect_schema():
            return table
        return table.with_columns(pl.lit(stem).alias(self.config.series))

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        # Some corrupt Parquet files make polars panic instead of raising an error of its own.
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            first_line = str(error).partition("\n")[0]
            raise DataError(
                f"data.path must be a readable {self.config.kind} file, got {self.config.path}: {first_line}"
            ) from None


def in_batches(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """A table in pieces of bounded size, in order; one without rows when it has none."""
    yield pl.DataFrame(schema=table.collect_schema())
    yield from table.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def from_day(table: pl.LazyFrame, column: str, since: date | None) -> pl.LazyFrame:
    """The rows of `since` and later."""
    return table if since is None else table.filter(pl.col(column).cast(pl.Date) >= since)


def typed_dates(table: pl.LazyFrame, config: DataConfig, source: str) -> pl.LazyFrame:
    """The table with dates or times where it had texts.

    Raises:
        DataError: the texts are no dates.
    """
    if table.collect_schema().get(config.date) != pl.String:
        return table
    whole = table.collect()
    times, _ = as_times(whole[config.date], config.policy, source)
    days = times.cast(pl.Date)
    return whole.with_columns(days if (days.cast(times.dtype) == times).all() else times).lazy()


def _common_types(known: dict[str, Any], found: pl.Schema, path: str) -> dict[str, Any]:
    """Types that hold the values of all files: the same everywhere, or Float64 where integers meet floats."""
    if not known:
        return dict(found)
    if unlike := set(known) ^ set(found):
        raise DataError(
            f"the files of a folder must have equal columns, got `{min(unlike)}` in some only, not all: {path}"
        )
    return {name: _common_type(name, kind, found[name], path) for name, kind in known.items()}


def _common_type(name: str, one: Any, other: Any, path: str) -> Any:
    if one == other:
        return one
    if one.is_numeric() and other.is_numeric():
        return pl.Float64()
    raise DataError(f"the files of a folder must have equal types, got `{name}` as {one} and as {other} in {path}")


def _stem(path: str) -> str:
    return PurePosixPath(path).stem.removesuffix(".csv")


@dataclass(frozen=True)
class _Place:
    """A file or a folder of some filesystem."""

    filesystem: Any
    path: str
    is_folder: bool
    is_local: bool

    @classmethod
    def find(cls, text: str) -> "_Place":
        from pyarrow import fs

        try:
            filesystem, path = _filesystem(text)
            found = filesystem.get_file_info(path)
        except OSError as error:
            raise DataError(f"data.path must be reachable, got {text}: {error}") from None
        if found.type == fs.FileType.NotFound:
            raise DataError(f"data.path must exist, got {text}")
        return cls(filesystem, path, found.type == fs.FileType.Directory, isinstance(filesystem, fs.LocalFileSystem))

    def files(self, endings: tuple[str, ...]) -> list[str]:
        """The visible files with one of these endings, by name."""
        from pyarrow import fs

        found = self.filesystem.get_file_info(fs.FileSelector(self.path))
        return sorted(one.path for one in found if one.base_name.endswith(endings) and one.base_name[0] not in "._")

    def open(self, path: str) -> Path | io.BytesIO:
        """What polars reads: a path, or the bytes of what lies elsewhere."""
        if self.is_local:
            return Path(path)
        with self.filesystem.open_input_stream(path, compression=None) as stream:
            return io.BytesIO(stream.read())


def _filesystem(text: str) -> tuple[Any, str]:
    """Arrow's own filesystem for local paths, gs:// and s3://, fsspec's for every other URL."""
    import pyarrow as pa
    from pyarrow import fs

    if "://" not in text:
        return fs.LocalFileSystem(), str(Path(text).expanduser())
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(text)
        return found
    except pa.ArrowInvalid:
        pass
    try:
        import fsspec  # type: ignore[import-untyped]

        system, path = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"data.path must be a path or a URL that can be opened, got {text}: {error}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path
