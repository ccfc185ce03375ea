"""Stored rolling correlations: reused as far as the rows they were made of are the same, extended by newer rows."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytrain.data.atomic import replacing
from raytrain.features.correlations.rolling import Indices, Windows, rolling_correlations
from raytrain.features.correlations.series import SeriesChanges

DIGEST_BYTES = 32
"""A file begins with the SHA-256 of the rest."""
VERSION = 1
"""Raised when the same rows would give other correlations."""


@dataclass(frozen=True)
class Part:
    """Pairs of one series that are stored together."""

    table: SeriesChanges
    pairs: Indices
    """(pairs, 2) columns."""
    days: tuple[int, ...]
    min_rows: int

    @property
    def key(self) -> str:
        """What is asked for, whatever the rows: series, pairs by name, windows."""
        pairs = [[self.table.names[side] for side in pair] for pair in self.pairs]
        asked = json.dumps([VERSION, self.table.series, pairs, self.days, self.min_rows])
        return hashlib.sha256(asked.encode()).hexdigest()[:24]

    def content(self, num_rows: int) -> str:
        """SHA-256 of the first rows: dates and the columns that the pairs read."""
        digest = hashlib.sha256(np.ascontiguousarray(self.table.dates[:num_rows]).view(np.int64).data)
        for column in np.unique(self.pairs):
            digest.update(np.ascontiguousarray(self.table.values[column, :num_rows]).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Stored:
    """The correlations of a part, and how much of it was there."""

    correlations: NDArray[np.float32]
    """(windows, pairs, rows)"""
    num_reused: int
    """Rows that were not computed again."""


@dataclass(frozen=True)
class CorrelationCache:
    """A folder with a file per part. A file that cannot be trusted is as good as none."""

    folder: Path
    max_age: timedelta
    """Counted from the last time when every row was computed."""
    now: datetime
    threads: int = 1

    def fill(self, part: Part) -> Stored:
        """The part's correlations: stored ones for rows that have not changed, computed ones for newer rows."""
        path = self.folder / f"{part.key}.stored"
        known, computed_at = self._read(path, part)
        num_known, num_rows = known.shape[2], len(part.table.dates)
        if num_known == num_rows:
            return Stored(known, num_known)
        windows = Windows.of_days(part.table.dates, part.days)
        newer = rolling_correlations(
            part.table.values, part.pairs, windows, min_rows=part.min_rows, first=num_known, threads=self.threads
        )
        found = np.concatenate([known, newer], axis=2) if num_known else newer
        self._write(path, part.content(num_rows), found, computed_at)
        return Stored(found, num_known)

    def drop_expired(self) -> None:
        """Remove what is too old to be used, and what a killed writer has left."""
        for path in [*self.folder.glob("*.stored"), *self.folder.glob(".*.tmp")]:
            if self._age(datetime.fromtimestamp(path.stat().st_mtime, UTC)) > self.max_age:
                path.unlink(missing_ok=True)

    def _age(self, since: datetime) -> timedelta:
        return abs(self.now - since)

    def _read(self, path: Path, part: Part) -> tuple[NDArray[np.float32], datetime]:
        """What is stored of the part's first rows, and when all of it was computed; (windows, pairs, 0) if nothing."""
        nothing = np.empty((len(part.days), len(part.pairs), 0), np.float32)
        if not path.exists():
            return nothing, self.now
        with path.open("rb") as file:
            # Checked before anything is parsed: a damaged archive can ask for any amount of memory.
            if file.read(DIGEST_BYTES) != hashlib.file_digest(file, "sha256").digest():
                return nothing, self.now
            file.seek(DIGEST_BYTES)
            with np.load(file, allow_pickle=False) as stored:
                correlations, content = stored["correlations"], str(stored["content"])
                computed_at = datetime.fromisoformat(str(stored["computed_at"]))
        num_rows = correlations.shape[2]
        old = self._age(computed_at) > self.max_age or num_rows > len(part.table.dates)
        return (nothing, self.now) if old or content != part.content(num_rows) else (correlations, computed_at)

    def _write(self, path: Path, content: str, found: NDArray[np.float32], computed_at: datetime) -> None:
        with replacing(path) as file:
            file.write(bytes(DIGEST_BYTES))
            np.savez(file, correlations=found, content=content, computed_at=computed_at.isoformat())
            file.seek(DIGEST_BYTES)
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0)
            file.write(digest)
