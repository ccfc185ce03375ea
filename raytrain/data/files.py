"""Parquet and CSV: one file, or a folder with a file per symbol, on this machine or behind a URL."""

import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, cast

import polars as pl

from raytrain.data.config import DataConfig
from raytrain.data.csv_blocks import CsvBlocks
from raytrain.data.dates import as_times
from raytrain.errors import ConfigError, DataError

BATCH_ROWS = 50_000
BATCH_VALUES = 2**20
"""In cells of the table: a piece of a wide one has fewer rows."""
TORN = (OSError, EOFError, zlib.error)
"""What a file raises that ends too early or was packed badly."""
READ_BYTES = 2**16
"""Of a column of a Parquet file, at a time."""
ENDINGS = {"parquet": (".parquet", ".pq"), "csv": (".csv", ".csv.gz")}


@dataclass(frozen=True)
class FileSource:
    """A Parquet or CSV table, read at once or in pieces. What lies behind a URL is fetched whole first."""

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
        return list(self._kinds)

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """The table as it is."""
        tables = []
        for path, file in self._files.items():
            with self._refusing(path):
                tables.append(file.table().with_columns(self._shared(path, columns)).select(columns).collect())
        return pl.concat(tables)

    def batches(self, columns: Sequence[str], since: date | None) -> Iterator[pl.DataFrame]:
        """The table in pieces, at least one, its dates typed; only rows from `since` on."""
        typed = self._typed_dates()
        for piece in self._pieces(columns, since):
            yield from_day(piece.lazy().with_columns(typed), self.config.date, since).collect()

    @cached_property
    def _files(self) -> "dict[str, _Parquet | CsvBlocks]":
        with self._refusing(self.place):
            paths = self._place.files(ENDINGS[self.config.kind]) if self._place.is_folder else [self._place.path]
            if not paths:
                wanted = " or ".join(ENDINGS[self.config.kind])
                raise DataError(f"data.path must be a {wanted} file or a folder with some, got none in {self.place}")
            return {path: self._file(self._place.content(path)) for path in paths}

    def _file(self, content: Path | io.BytesIO) -> "_Parquet | CsvBlocks":
        if self.config.kind == "parquet":
            return _Parquet(content, self.config.date)
        return CsvBlocks(content, self.config.policy.csv_options())

    @cached_property
    def _kinds(self) -> dict[str, Any]:
        """Column -> the type that holds the values of all files."""
        kinds: dict[str, Any] = {}
        for path, file in self._files.items():
            with self._refusing(path):
                found = dict(file.schema)
            if self._place.is_folder:
                found.setdefault(self.config.series, pl.String())
            kinds = _common_types(kinds, found, path)
        return kinds

    def _shared(self, path: str, columns: Sequence[str]) -> list[pl.Expr]:
        """The columns of a file as the whole table has them."""
        own = self._files[path].schema
        return [
            (pl.col(name) if name in own else pl.lit(_stem(path)).alias(name)).cast(self._kinds[name])
            for name in columns
        ]

    def _pieces(self, columns: Sequence[str], since: date | None = None) -> Iterator[pl.DataFrame]:
        for path, file in self._files.items():
            own = [name for name in columns if name in file.schema]
            with self._refusing(path):
                for piece in file.pieces(own) if isinstance(file, CsvBlocks) else file.pieces(own, since):
                    yield piece.with_columns(self._shared(path, columns)).select(columns)

    def _typed_dates(self) -> list[pl.Expr]:
        """How texts become dates, or times where some row has one; nothing where they are no texts.

        Raises:
            DataError: the texts are no dates.
        """
        name = self.config.date
        if self._kinds.get(name) != pl.String:
            return []
        texts = pl.concat([piece.unique() for piece in self._pieces([name])]).unique()[name]
        try:
            times, _ = as_times(texts, self.config.policy, self.place)
        except DataError:
            # Once more over all rows, for the message counts them.
            as_times(self.read([name])[name], self.config.policy, self.place)
            raise
        days = times.cast(pl.Date)
        typed = days if (days.cast(times.dtype) == times).all() else times
        return [pl.col(name).replace_strict(texts, typed, return_dtype=typed.dtype)]

    @contextmanager
    def _refusing(self, path: str) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        # Some corrupt Parquet files make polars panic instead of raising an error of its own.
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ArrowException, *TORN) as error:
            first_line = str(error).partition("\n")[0]
            raise DataError(f"data.path must be a readable {self.config.kind} file, got {path}: {first_line}") from None


@dataclass(frozen=True)
class _Parquet:
    """A Parquet file."""

    content: Path | io.BytesIO
    day: str
    """Its date column."""

    @cached_property
    def schema(self) -> pl.Schema:
        return self.table().collect_schema()

    def table(self) -> pl.LazyFrame:
        """All rows."""
        return pl.scan_parquet(self.content, glob=False)

    def pieces(self, columns: Sequence[str], since: date | None) -> Iterator[pl.DataFrame]:
        """The rows, in order; at least one piece. Row groups that end before `since` may be left out.

        Polars would keep many row groups in memory ahead of its reader; Arrow's reader goes from page to page.
        """
        import pyarrow.parquet as pq

        kinds = pl.Schema({name: self.schema[name] for name in columns})
        yield pl.DataFrame(schema=kinds)
        rows = max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, len(columns))))
        with pq.ParquetFile(self.content, buffer_size=READ_BYTES, pre_buffer=False) as file:
            groups = [i for i in range(file.num_row_groups) if self._reaches(file.metadata.row_group(i), since)]
            for batch in file.iter_batches(rows, groups, columns, use_threads=False):
                yield cast(pl.DataFrame, pl.from_arrow(batch)).select(columns).cast(kinds)

    def _reaches(self, group: Any, since: date | None) -> bool:
        """Whether a row group may hold rows of `since` or later, by the largest date that it is said to have."""
        if since is None:
            return True
        of_columns = (group.column(i) for i in range(group.num_columns))
        said = [column.statistics for column in of_columns if column.path_in_schema == self.day]
        newest = said[0].max if said and said[0] is not None and said[0].has_min_max else None
        # A day more, because a time may be told in any zone.
        return not isinstance(newest, date) or newest.toordinal() >= since.toordinal() - 1


def in_batches(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """A table in pieces of bounded size, in order; one without rows when it has none."""
    yield pl.DataFrame(schema=table.collect_schema())
    yield from table.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def from_day(table: pl.LazyFrame, column: str, since: date | None) -> pl.LazyFrame:
    """The rows of `since` and later, by the calendar of the column's own zone."""
    if since is None or not table.collect_schema()[column].is_temporal():
        return table
    return table.filter(pl.col(column).dt.date() >= since)


def _common_types(known: dict[str, Any], found: dict[str, Any], path: str) -> dict[str, Any]:
    """Types that hold the values of all files: the same everywhere, or Float64 where integers meet floats."""
    if not known:
        return found
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

    def content(self, path: str) -> Path | io.BytesIO:
        """A path, or the bytes of what lies elsewhere."""
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
