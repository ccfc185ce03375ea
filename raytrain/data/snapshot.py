"""A snapshot: one immutable state of the data, Parquet files and a manifest with their checksums."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from raytrain import __version__
from raytrain.errors import DataError

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the manifest says of one file."""

    file: str
    """Name inside the folder."""
    rows: int
    columns: dict[str, str]
    """Column name -> type."""
    first_date: str
    last_date: str
    sha256: str


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_snapshot(table: pl.DataFrame, folder: Path, date: str = "date") -> Path:
    """Write `table` as a snapshot into a folder that does not exist yet; the manifest comes last.

    Raises:
        DataError: the folder exists: a snapshot is never changed.
    """
    if folder.exists():
        raise DataError(f"a snapshot is written once, got the existing folder {folder}; name another")
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    building.mkdir(parents=True)
    path = building / "part-0.parquet"
    table.write_parquet(path, compression="zstd")
    entry = Entry(
        file=path.name,
        rows=table.height,
        columns={name: str(kind) for name, kind in table.schema.items()},
        first_date=str(table[date].min()),
        last_date=str(table[date].max()),
        sha256=file_hash(path),
    )
    manifest = {"version": 1, "raytrain": __version__, "files": [asdict(entry)]}
    (building / MANIFEST).write_text(json.dumps(manifest, indent=2))
    building.rename(folder)
    return folder


def read_snapshot(folder: Path) -> pl.DataFrame:
    """Read a snapshot after checking every file against the manifest.

    Raises:
        DataError: no manifest, a name outside the folder, a missing, extra or changed file, a wrong row count.
    """
    entries = _entries(folder)
    extra = {path.name for path in folder.iterdir()} - {entry.file for entry in entries} - {MANIFEST}
    if extra:
        raise DataError(f"a snapshot holds only what its manifest lists, got {', '.join(sorted(extra))} in {folder}")
    return pl.concat([_read_entry(folder, entry) for entry in entries])


def _entries(folder: Path) -> list[Entry]:
    path = folder / MANIFEST
    try:
        listed = json.loads(path.read_text())["files"]
        entries = [Entry(**item) for item in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} must be a snapshot's manifest, got {error.__class__.__name__}: {error}") from None
    if not entries:
        raise DataError(f"{path} must list at least one file, got none")
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
    table = pl.read_parquet(path)
    if table.height != entry.rows:
        raise DataError(f"{path} must have {entry.rows} rows as its manifest says, got {table.height}")
    return table
