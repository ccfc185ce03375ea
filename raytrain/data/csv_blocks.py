"""A CSV file of any length in pieces of bounded size, with the types that the whole file has."""

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

BLOCK_BYTES = 2**20
"""Of text, unpacked."""
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class CsvBlocks:
    """A CSV file, plain or packed with gzip. It is read once for its types and once more for its rows."""

    content: Path | io.BytesIO
    options: dict[str, Any]
    """How polars reads it, from `PolicyConfig.csv_options`."""

    @cached_property
    def schema(self) -> pl.Schema:
        """Column -> the type that holds all its values: of integers, of numbers, of truth values, or text.

        Raises:
            polars.exceptions.PolarsError, OSError, EOFError: the file is no such table.
        """
        found: dict[str, set[Any]] = {}
        for block in self._blocks():
            for column in pl.scan_csv(block, **self.options).collect():
                known = found.setdefault(column.name, set())
                # Where everything is unknown there is no type to find, and polars calls it text.
                if column.null_count() < len(column):
                    known.add(column.dtype)
        return pl.Schema({name: _holding(kinds) for name, kinds in found.items()})

    def table(self) -> pl.LazyFrame:
        """All rows."""
        return pl.concat(pl.scan_csv(block, **self.options, schema=self.schema) for block in self._blocks())

    def pieces(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """The rows, in order; at least one piece."""
        for block in self._blocks():
            yield pl.scan_csv(block, **self.options, schema=self.schema).select(columns).collect()

    def _blocks(self) -> Iterator[bytes]:
        """The text in pieces that end with a row and begin with the header."""
        header = rest = b""
        with self._unpacked() as file:
            while more := file.read(BLOCK_BYTES):
                rest += more
                if end := _last_row_end(rest):
                    yield header + rest[:end]
                    header, rest = header or _header(rest[:end]), rest[end:]
        if rest or not header:
            yield header + rest

    @contextmanager
    def _unpacked(self) -> Iterator[IO[bytes]]:
        with self.content.open("rb") if isinstance(self.content, Path) else io.BytesIO(self.content.getvalue()) as file:
            packed = file.read(2) == GZIP
            file.seek(0)
            yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file


def _holding(kinds: set[Any]) -> Any:
    """The type of a column whose pieces have these types."""
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds and all(kind.is_numeric() for kind in kinds):
        return pl.Float64() if pl.Float64() in kinds else pl.Int128()
    return pl.String()


def _last_row_end(text: bytes) -> int:
    """Where the last whole row ends, 0 where none does: at a line feed that is not between quotation marks."""
    end = text.rfind(b"\n") + 1
    quoted = text.count(b'"', 0, end) % 2
    while quoted and end:
        before = text.rfind(b"\n", 0, end - 1) + 1
        quoted ^= text.count(b'"', before, end) % 2
        end = before
    return end


def _header(text: bytes) -> bytes:
    """The first row, with the blank lines above it."""
    begin = len(text) - len(text.lstrip(b"\r\n"))
    end = begin
    while end := text.find(b"\n", end) + 1:
        if text.count(b'"', begin, end) % 2 == 0:
            return text[:end]
    return text
