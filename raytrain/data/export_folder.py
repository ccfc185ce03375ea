"""A folder of snapshots: `<folder>/000001`, `000002`, ... and `latest`, which names the one that counts."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from raytrain.data.atomic import is_abandoned
from raytrain.data.snapshot import Snapshot
from raytrain.errors import DataError

LATEST = "latest"
JOB_NOTE = ".export-job.json"
FETCHED = ".fetched."
LEFT_BEHIND = (".[0-9]*.*", f"{FETCHED}*", f".{LATEST}.*", f".{JOB_NOTE}.*")
"""What an export builds before it takes its place. Names of what takes long end in the pid of the writer."""


@dataclass(frozen=True)
class ExportFolder:
    """Snapshots of one source, in the order in which they were exported."""

    root: Path

    @property
    def job_note(self) -> Path:
        """Where a source keeps the query under way."""
        return self.root / JOB_NOTE

    def folders(self) -> list[Path]:
        """The snapshots' folders, oldest first."""
        if not self.root.is_dir():
            return []
        found = [path for path in self.root.iterdir() if path.name.isdecimal() and path.is_dir()]
        return sorted(found, key=lambda path: int(path.name))

    def next(self) -> Path:
        """The folder of the snapshot that is exported next."""
        last = self.folders()[-1:]
        return self.root / f"{int(last[0].name) + 1 if last else 1:06d}"

    def newest(self) -> Snapshot | None:
        """The newest snapshot, every file checked; None before the first export.

        Raises:
            DataError: it is damaged; the message says how to go on from the one before it that is whole.
        """
        folders = self.folders()
        if not folders:
            return None
        try:
            snapshot = Snapshot.open(folders[-1])
            snapshot.verify()
        except DataError as error:
            before = whole_before(folders[-1])
            rest = f"it goes on from {before}, which is whole" if before else "it starts afresh"
            raise DataError(f"{error}; remove {folders[-1]} and export again: {rest}") from None
        return snapshot

    def point_latest(self, folder: Path) -> None:
        """Let `latest` name a snapshot, in one step."""
        link = self.root / LATEST
        if link.is_symlink() and os.readlink(link) == folder.name:
            return
        beside = self.root / f".{LATEST}.{os.getpid()}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(folder.name, target_is_directory=True)
        os.replace(beside, link)

    def sweep(self) -> None:
        """Remove what killed exports left behind."""
        for pattern in LEFT_BEHIND:
            for path in filter(is_abandoned, self.root.glob(pattern)):
                if path.is_symlink() or path.is_file():
                    path.unlink()
                else:
                    shutil.rmtree(path, ignore_errors=True)


def read_newest(path: Path) -> tuple[str, pl.DataFrame]:
    """The name and the table of a snapshot, or of the newest one of an export folder.

    Raises:
        DataError: it is damaged or is none; the message names the snapshot before it that is whole.
    """
    folder = _newest(path)
    try:
        snapshot = Snapshot.open(folder)
        return snapshot.manifest.name, snapshot.read()
    except DataError as error:
        before = whole_before(folder)
        raise DataError(f"{error}; whole is {before}: name it in data.path" if before else str(error)) from None


def whole_before(folder: Path) -> Path | None:
    """The newest snapshot older than this one whose files are as they were written."""
    if not folder.name.isdecimal():
        return None
    older = [path for path in ExportFolder(folder.parent).folders() if int(path.name) < int(folder.name)]
    return next((path for path in reversed(older) if _is_whole(path)), None)


def _newest(path: Path) -> Path:
    folders, latest = ExportFolder(path).folders(), path / LATEST
    if not folders:
        return path
    return path / os.readlink(latest) if latest.is_symlink() and latest.is_dir() else folders[-1]


def _is_whole(folder: Path) -> bool:
    try:
        Snapshot.open(folder).verify()
    except DataError:
        return False
    return True
