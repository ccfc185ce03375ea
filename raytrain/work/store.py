"""Finished fits on disk: written beside, checked, renamed into place; never changed afterwards."""

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from raytrain.data.atomic import is_abandoned, whole_folder
from raytrain.data.snapshot import file_hash
from raytrain.errors import StoreCorrupt

RESULT = "result.json"
PREDICTIONS = "predictions.parquet"
CHECKSUMS = "SHA256SUMS"
_AGE_S = 7 * 86_400
_SWEPT = ("checkpoints", "prepared", "models/*")
"""What can be made again, and is not needed once the data has moved on; whoever uses such a folder touches it."""


@dataclass(frozen=True)
class ResultStore:
    """Results below `<root>/fits/`, one folder per key."""

    root: Path

    def folder(self, key: str) -> Path:
        """Where the result of `key` is or will be."""
        return self.root / "fits" / key[:2] / key

    def checkpoint(self, key: str) -> Path:
        """An existing folder in which a fit that is stopped may leave its state."""
        folder = self.root / "checkpoints" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

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
        aside = self.root / "damaged" / f"{key}.{time.time_ns()}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.folder(key), aside)

    def write(self, key: str, predictions: pl.DataFrame, result: dict[str, Any]) -> None:
        """Keep a result for good; a second writer of the same key finds its work done."""
        with suppress(FileExistsError), whole_folder(self.folder(key)) as building:
            predictions.write_parquet(building / PREDICTIONS, compression="zstd")
            (building / RESULT).write_text(json.dumps(result, indent=1, sort_keys=True))
            (building / CHECKSUMS).write_text(_checksums(building))
        shutil.rmtree(self.root / "checkpoints" / key, ignore_errors=True)

    def verify(self, key: str) -> None:
        """Check a result against its checksums.

        Raises:
            StoreCorrupt: a file is missing or differs.
        """
        folder = self.folder(key)
        try:
            written, found = (folder / CHECKSUMS).read_text(), _checksums(folder)
        except (OSError, ValueError) as error:
            raise StoreCorrupt(f"{folder} cannot be read: {error}") from None
        if written != found:
            raise StoreCorrupt(f"{folder} does not match its checksums: written\n{written}found\n{found}")

    def result(self, key: str) -> dict[str, Any]:
        """The facts about a finished fit: cost, environment, spec."""
        values: dict[str, Any] = json.loads((self.folder(key) / RESULT).read_text())
        return values

    def predictions(self, key: str) -> pl.DataFrame:
        """What a finished fit predicted for its test block."""
        return pl.read_parquet(self.folder(key) / PREDICTIONS)

    def results(self) -> Iterator[dict[str, Any]]:
        """The facts about every finished fit of this store; what cannot be read teaches nothing.

        A damaged result is put aside by `finished`, when its fit is asked for.
        """
        for path in sorted(self.root.glob(f"fits/*/[!.]*/{RESULT}")):
            with suppress(OSError, ValueError):
                yield json.loads(path.read_text())

    def sweep(self) -> int:
        """Remove what killed writers left behind, and what nobody has used for a week; returns how many."""
        stale = [
            path for place in ("fits/*", "prepared", "models/*", "bundles") for path in self.root.glob(f"{place}/.*")
        ]
        gone = [path for path in stale if is_abandoned(path)]
        used = [path for place in _SWEPT for path in self.root.glob(f"{place}/[!.]*")]
        gone += [path for path in used if _is_old(path)]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        return len(gone)


def _is_old(folder: Path) -> bool:
    """Whether nobody used it for a week: the data has moved on, and its key will not come back."""
    return time.time() - folder.stat().st_mtime > _AGE_S


def _checksums(folder: Path) -> str:
    """The text of SHA256SUMS, as `sha256sum --check` reads it."""
    return "".join(f"{file_hash(folder / name)}  {name}\n" for name in (PREDICTIONS, RESULT))
