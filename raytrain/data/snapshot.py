"""A snapshot: one immutable state of the data, Parquet files and a manifest with their checksums."""

import hashlib
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, ValidationError

from raytrain import __version__
from raytrain.config import Section
from raytrain.data.atomic import whole_folder
from raytrain.errors import DataError

MANIFEST = "manifest.json"


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
    files: tuple[Entry, ...] = Field(min_length=1)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_snapshot(table: pl.DataFrame, folder: Path, date: str = "date") -> Path:
    """Write `table` as a snapshot into a folder that does not exist yet; the manifest comes last.

    Raises:
        DataError: the folder exists: a snapshot is never changed.
    """
    try:
        if folder.exists():
            raise FileExistsError
        with whole_folder(folder) as building:
            entry = _write_entry(table, building / "part-0.parquet", date)
            manifest = Manifest(raytrain=__version__, files=(entry,))
            (building / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    except FileExistsError:
        raise DataError(f"a snapshot is written once, got the existing folder {folder}; name another") from None
    return folder


def _write_entry(table: pl.DataFrame, path: Path, date: str) -> Entry:
    table.write_parquet(path, compression="zstd")
    return Entry(
        file=path.name,
        rows=table.height,
        columns={name: str(kind) for name, kind in table.schema.items()},
        first_date=str(table[date].min()),
        last_date=str(table[date].max()),
        sha256=file_hash(path),
    )


def read_snapshot(folder: Path) -> pl.DataFrame:
    """Read a snapshot after checking every file against the manifest.

    Raises:
        DataError: no manifest, a name outside the folder, a missing, extra or changed file, a wrong row count, files
            that do not go together.
    """
    entries = _entries(folder)
    extra = {path.name for path in folder.iterdir()} - {entry.file for entry in entries} - {MANIFEST}
    if extra:
        raise DataError(f"a snapshot holds only what its manifest lists, got {', '.join(sorted(extra))} in {folder}")
    try:
        return pl.concat([_read_entry(folder, entry) for entry in entries])
    except pl.exceptions.PolarsError as error:
        raise DataError(f"the files of {folder} must be Parquet with equal columns, got: {error}") from None


def _entries(folder: Path) -> tuple[Entry, ...]:
    path = folder / MANIFEST
    try:
        entries = Manifest.model_validate_json(path.read_bytes()).files
    except OSError as error:
        raise DataError(f"{path} must be a snapshot's manifest, got {type(error).__name__}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise DataError(
            f"{path} must be a snapshot's manifest, got {first['msg']} at {where}; use the previous snapshot"
        ) from None
    for entry in entries:
        if Path(entry.file).name != entry.file or entry.file in ("", ".", ".."):
            raise DataError(f"{path} may name files of its own folder only, got {entry.file!r}")
    return entries


def _read_entry(folder: Path, entry: Entry) -> pl.DataFrame:
    path = folder / entry.file
    if not path.is_file():
        raise DataError(f"{path} is listed in the manifest but missing; restore it or use the previous snapshot")
    if (found := file_hash(path)) != entry.sha256:
        raise DataError(
            f"{path} was changed: sha256 {found[:12]}..., the manifest says {entry.sha256[:12]}...; "
            "use the previous snapshot or export again"
        )
    table = pl.read_parquet(path, glob=False)
    if table.height != entry.rows:
        raise DataError(f"{path} must have {entry.rows} rows as its manifest says, got {table.height}")
    return table
