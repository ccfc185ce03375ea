"""A snapshot: one immutable state of the data, part files by year and a manifest with their checksums."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, ValidationError

from raytrain.config import Section
from raytrain.data.parts import read_part
from raytrain.errors import DataError

MANIFEST = "manifest.json"
RESTATED = "restatements.parquet"


class Entry(Section):
    """What the manifest says of one file."""

    file: str
    """Name inside the folder."""
    rows: int
    columns: dict[str, str]
    """Column name -> type."""
    first_date: str
    last_date: str
    sha256: str


class Manifest(Section):
    """What a snapshot consists of."""

    version: Literal[1] = 1
    """Of this layout."""
    raytrain: str
    """The version that wrote it."""
    exported_at: str
    """When its newest rows were fetched, UTC."""
    source: str
    """The query or path that was read last."""
    name: str
    """What the one series of a table without a series column is called."""
    files: tuple[Entry, ...] = Field(min_length=1)
    """By date, earliest first."""
    restatements: Entry | None = None
    """Values that a later export changed: series, date, column, old, new, exported_at."""
    sha256: str = ""
    """Of everything above."""

    @property
    def digest(self) -> str:
        """What `sha256` must be."""
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()

    def signed(self) -> str:
        """The text of the file."""
        return self.model_copy(update={"sha256": self.digest}).model_dump_json(indent=2)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every file beside the manifest."""
        return self.files if self.restatements is None else (*self.files, self.restatements)

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> type, of the table."""
        return self.files[0].columns


@dataclass(frozen=True)
class Snapshot:
    """A snapshot whose manifest was read; its files are checked when they are read."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> "Snapshot":
        """Read the manifest.

        Raises:
            DataError: no manifest, a torn one, or one that names files outside the folder.
        """
        path = folder / MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path} must be a snapshot's manifest, got {type(error).__name__}: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole file"
            raise DataError(
                f"{path} must be a snapshot's manifest, got {first['msg']} at {where}; use the previous snapshot"
            ) from None
        if manifest.sha256 != manifest.digest:
            raise DataError(f"{path} was changed: its own sha256 does not match; use the previous snapshot")
        for entry in manifest.entries:
            if Path(entry.file).name != entry.file or entry.file in ("", ".", ".."):
                raise DataError(f"{path} may name files of its own folder only, got {entry.file!r}")
        return cls(folder, manifest)

    def verify(self) -> None:
        """Check every file against the manifest.

        Raises:
            DataError: a missing, extra or changed file.
        """
        self._refuse_extra()
        for entry in self.manifest.entries:
            self._require(entry)
            self._compare(entry, file_hash(self.folder / entry.file))

    def read(self) -> pl.DataFrame:
        """The whole table, every file checked before it is read.

        Raises:
            DataError: a missing, extra or changed file, a wrong row count, files that do not go together.
        """
        self._refuse_extra()
        try:
            return pl.concat([self.part(entry) for entry in self.manifest.files])
        except pl.exceptions.PolarsError as error:
            raise DataError(f"the files of {self.folder} must be tables with equal columns, got: {error}") from None

    def part(self, entry: Entry) -> pl.DataFrame:
        """The rows of one file, read from the very bytes that were checked."""
        self._require(entry)
        path = self.folder / entry.file
        content = path.read_bytes()
        self._compare(entry, hashlib.sha256(content).hexdigest())
        table = read_part(content, entry.file, entry.columns)
        if table.height != entry.rows:
            raise DataError(f"{path} must have {entry.rows} rows as its manifest says, got {table.height}")
        return table

    def _refuse_extra(self) -> None:
        known = {entry.file for entry in self.manifest.entries} | {MANIFEST}
        if extra := {path.name for path in self.folder.iterdir()} - known:
            names = ", ".join(sorted(extra))
            raise DataError(f"a snapshot holds only what its manifest lists, got {names} in {self.folder}")

    def _require(self, entry: Entry) -> None:
        path = self.folder / entry.file
        if not path.is_file():
            raise DataError(f"{path} is listed in the manifest but missing; restore it or use the previous snapshot")

    def _compare(self, entry: Entry, found: str) -> None:
        if found != entry.sha256:
            raise DataError(
                f"{self.folder / entry.file} was changed: sha256 {found[:12]}..., the manifest says "
                f"{entry.sha256[:12]}...; use the previous snapshot or export again"
            )


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_part(path: Path, content: pl.LazyFrame, date: str) -> Entry:
    """What the manifest says of a file that holds `content`."""
    day = pl.col(date)
    rows, first, last = content.select(pl.len(), day.min(), day.max().alias("last")).collect().row(0)
    return Entry(
        file=path.name,
        rows=rows,
        columns={name: str(kind) for name, kind in content.collect_schema().items()},
        first_date=str(first),
        last_date=str(last),
        sha256=file_hash(path),
    )
