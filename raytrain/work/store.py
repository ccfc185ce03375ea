"""Finished fits on disk: written beside, checked, renamed into place; never changed afterwards."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from raytrain.errors import StoreCorrupt

RESULT = "result.json"
PREDICTIONS = "predictions.parquet"
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class ResultStore:
    """Results below `<root>/fits/`, one folder per key."""

    root: Path

    def folder(self, key: str) -> Path:
        """Where the result of `key` is or will be."""
        return self.root / "fits" / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether `key` is finished."""
        return self.folder(key).is_dir()

    def finished(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` whose results are there and whole; torn ones are put aside, to be fitted again."""
        whole = set()
        for key in keys:
            if not self.has(key):
                continue
            try:
                self.verify(key)
                whole.add(key)
            except StoreCorrupt:
                self.put_aside(key)
        return whole

    def put_aside(self, key: str) -> None:
        """Move a damaged result out of the way, where it can be looked at."""
        aside = self.root / "damaged" / f"{key}.{os.getpid()}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.folder(key), aside)

    def write(self, key: str, predictions: pl.DataFrame, result: dict[str, Any]) -> None:
        """Keep a result for good; a second writer of the same key finds its work done."""
        target = self.folder(key)
        building = target.with_name(f".{key}.{os.getpid()}")
        building.mkdir(parents=True)
        try:
            predictions.write_parquet(building / PREDICTIONS, compression="zstd")
            (building / RESULT).write_text(json.dumps(result, indent=1, sort_keys=True))
            sums = [f"{_sha256(building / name)}  {name}\n" for name in (PREDICTIONS, RESULT)]
            (building / CHECKSUMS).write_text("".join(sums))
            for path in (*building.iterdir(), building):
                _sync(path)
            if not target.exists():
                building.rename(target)
                _sync(target.parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def verify(self, key: str) -> None:
        """Check a result against its checksums.

        Raises:
            StoreCorrupt: a file is missing or differs.
        """
        folder = self.folder(key)
        try:
            lines = (folder / CHECKSUMS).read_text().splitlines()
            for expected, name in (line.split("  ", 1) for line in lines):
                if _sha256(folder / name) != expected:
                    raise StoreCorrupt(f"{folder / name} does not match its checksum")
        except (OSError, ValueError) as error:
            raise StoreCorrupt(f"{folder} cannot be read: {error}") from None
        if len(lines) != 2:
            raise StoreCorrupt(f"{folder / CHECKSUMS} must list 2 files, got {len(lines)}")

    def result(self, key: str) -> dict[str, Any]:
        """The facts about a finished fit: cost, environment, spec."""
        values: dict[str, Any] = json.loads((self.folder(key) / RESULT).read_text())
        return values

    def predictions(self, key: str) -> pl.DataFrame:
        """What a finished fit predicted for its test block."""
        return pl.read_parquet(self.folder(key) / PREDICTIONS)

    def results(self) -> Iterator[dict[str, Any]]:
        """The facts about every finished fit of this store."""
        for path in sorted(self.root.glob(f"fits/*/*/{RESULT}")):
            if not path.parent.name.startswith("."):
                yield json.loads(path.read_text())

    def sweep(self) -> int:
        """Remove what killed writers left behind; returns how many."""
        stale = [*self.root.glob("fits/*/.*"), *self.root.glob("prepared/.*")]
        gone = [path for path in stale if not _alive(path.name)]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        return len(gone)


def _alive(name: str) -> bool:
    pid = name.rpartition(".")[2]
    return pid.isdigit() and psutil.pid_exists(int(pid))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
