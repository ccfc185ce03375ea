"""A node that does not share the driver's disk: it fetches what a fit reads, once, and delivers what the fit made.

Every file is checked against its hash on arrival, and a dataset against the hash that is its name.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from filelock import FileLock

from raytrain.data.atomic import whole_folder
from raytrain.data.snapshot import file_hash
from raytrain.errors import StoreCorrupt
from raytrain.work.dataset import Dataset
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

PIECE_BYTES = 8 * 2**20
"""Most that is sent at a time: what Ray carries between nodes passes through a small object store."""

ABANDONED_S = 3600.0
_PREPARED, _FITS, _MODELS, _INCOMING = "prepared", "fits", "models", "incoming"
_AGE_S = 7 * 86_400


class Depot(Protocol):
    """The driver's store as other nodes see it; folders and files are named from its root on, with `/`."""

    def names(self, prefix: str) -> list[str]:
        """Folders whose names begin with `prefix`."""

    def digests(self, folder: str) -> dict[str, str]:
        """File within the folder -> SHA-256; empty when the folder is not there."""

    def read(self, file: str, offset: int) -> bytes:
        """At most `PIECE_BYTES` of a file; less at its end."""

    def write(self, parcel: str, file: str, offset: int, data: bytes) -> None:
        """Put a piece of a file into a parcel."""

    def keep(self, parcel: str, folder: str, digests: Mapping[str, str]) -> None:
        """Make a parcel that is complete a folder of the store; what is there already stays."""

    def begin(self, key: str, who: str) -> None:
        """Tell who works on a fit."""

    def asked(self, key: str) -> bool:
        """Whether the fit is to stop."""

    def end(self, key: str) -> None:
        """Nobody works on the fit any more."""


class StoreDepot:
    """The depot of a store, on the driver's node.

    Args:
        root: the store. Parcels that nobody has written to for an hour are dropped: their run is gone, while a search
            beside a run may have some on the way.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for parcel in (root / _INCOMING).glob("*"):
            if time.time() - parcel.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(parcel, ignore_errors=True)
        (root / "inflight").mkdir(parents=True, exist_ok=True)

    def names(self, prefix: str) -> list[str]:
        path = self._path(prefix)
        return [found.relative_to(self.root).as_posix() for found in sorted(path.parent.glob(f"{path.name}*"))]

    def digests(self, folder: str) -> dict[str, str]:
        return digests_of(self._path(folder))

    def read(self, file: str, offset: int) -> bytes:
        return _read(self._path(file), offset)

    def write(self, parcel: str, file: str, offset: int, data: bytes) -> None:
        path = self._parcel(parcel) / _relative(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
            stream.seek(offset)
            stream.write(data)

    def keep(self, parcel: str, folder: str, digests: Mapping[str, str]) -> None:
        """Make a parcel a folder of the store.

        Raises:
            StoreCorrupt: what has arrived is not what was sent.
        """
        target, arrived = self._path(folder), self._parcel(parcel)
        if not target.is_dir():
            _require_same(digests, digests_of(arrived), f"{folder}, as it arrived from a node,")
            _move(arrived, target)
        shutil.rmtree(arrived, ignore_errors=True)

    def begin(self, key: str, who: str) -> None:
        path = self._inflight(key)
        if path.exists():
            # Of a predecessor that died with its node: what it was asked is not for this one.
            path.with_suffix(".stop").unlink(missing_ok=True)
        path.write_text(who)

    def asked(self, key: str) -> bool:
        return self._inflight(key).with_suffix(".stop").exists()

    def end(self, key: str) -> None:
        self._inflight(key).unlink(missing_ok=True)
        self._inflight(key).with_suffix(".stop").unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        path = _relative(name)
        if path.parts[0] not in (_PREPARED, _FITS, _MODELS):
            raise ValueError(f"a depot gives what is in {_PREPARED}, {_FITS} or {_MODELS}, got {name!r}")
        return self.root / path

    def _parcel(self, parcel: str) -> Path:
        return self.root / _INCOMING / _relative(parcel).name

    def _inflight(self, key: str) -> Path:
        return self.root / "inflight" / f"{_relative(key).name}.json"


@dataclass(frozen=True)
class NodeStore:
    """A node's own folder, shaped like a store, and the depot that it is filled from."""

    root: Path
    depot: Depot

    def bring(self, spec: FitSpec, dataset: str) -> Path:
        """Have here what the fit reads: its dataset, the forecasts it mixes, the model it was trained before as.

        Args:
            spec: the fit.
            dataset: name of the dataset's folder.

        Returns:
            The dataset's folder on this node.

        Raises:
            StoreCorrupt: what has arrived is not what was sent, or its content does not hash to its name.
        """
        for key in spec.members:
            self._fetch(_fit_folder(key))
        for name in self._models(spec):
            self._fetch(name)
        return self.dataset(dataset)

    def dataset(self, name: str) -> Path:
        """A dataset on this node, fetched by the first of its processes that asks.

        Raises:
            StoreCorrupt: its content does not hash to its name.
        """
        target = self.root / _PREPARED / name
        with self._alone(target):
            if not target.is_dir():
                with self._arriving(f"{_PREPARED}/{name}") as arrived:
                    if not arrived.is_dir():
                        raise StoreCorrupt(f"the driver's store must hold the dataset {name} while the run lasts")
                    # Saving names the copy by the hash of what was really received.
                    copy = Dataset.open(arrived).save(target.parent)
                if copy != target:
                    shutil.rmtree(copy)
                    raise StoreCorrupt(f"the dataset {name} must hash to its name, its copy here hashes to {copy.name}")
            os.utime(target)
        return target

    def deliver(self, spec: FitSpec) -> None:
        """Bring the fit's result, and the model that it kept, into the driver's store; the result leaves this node.

        Raises:
            StoreCorrupt: what has arrived there is not what was sent; it is still here.
        """
        there = self._models(spec)
        here = self.root.glob(f"{_models_of(spec)}*") if spec.train_key else ()
        for name in sorted(path.relative_to(self.root).as_posix() for path in here):
            if name not in there:
                self._send(name)
        self._send(_fit_folder(spec.key))
        shutil.rmtree(self.root / _fit_folder(spec.key))

    def sweep(self) -> None:
        """Remove what nobody has used for a week."""
        ResultStore(self.root).sweep()
        for place in ("fits/*/[!.]*", "locks/*"):
            for path in self.root.glob(place):
                with suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _AGE_S:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _models(self, spec: FitSpec) -> list[str]:
        """What the driver keeps of the fit's training."""
        return self.depot.names(_models_of(spec)) if spec.train_key else []

    def _fetch(self, folder: str) -> None:
        target = self.root / folder
        with self._alone(target):
            if not target.is_dir():
                with self._arriving(folder) as arrived:
                    if arrived.is_dir():
                        _move(arrived, target)

    @contextmanager
    def _arriving(self, folder: str) -> Iterator[Path]:
        """A folder of the depot as it arrived and was checked; it is gone afterwards, unless it was moved."""
        arrived = self.root / _INCOMING / secrets.token_hex(8)
        sent = self.depot.digests(folder)
        try:
            for name in sent:
                path = arrived / _relative(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as stream:
                    while piece := self.depot.read(f"{folder}/{name}", stream.tell()):
                        stream.write(piece)
            _require_same(sent, digests_of(arrived), f"{folder}, as it arrived from the driver,")
            yield arrived
        finally:
            shutil.rmtree(arrived, ignore_errors=True)

    def _send(self, folder: str) -> None:
        parcel, source = secrets.token_hex(8), self.root / folder
        digests = digests_of(source)
        for name in digests:
            size = (source / name).stat().st_size
            for offset in range(0, max(size, 1), PIECE_BYTES):
                self.depot.write(parcel, name, offset, _read(source / name, offset))
        self.depot.keep(parcel, folder, digests)

    def _alone(self, target: Path) -> FileLock:
        lock = self.root / "locks" / target.name
        lock.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(lock)


def digests_of(folder: Path) -> dict[str, str]:
    """File within the folder, subfolders included -> SHA-256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def _fit_folder(key: str) -> str:
    return f"{_FITS}/{key[:2]}/{key}"


def _models_of(spec: FitSpec) -> str:
    return f"{_MODELS}/{spec.train_key[:2]}/{spec.train_key}"


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(PIECE_BYTES)


def _move(arrived: Path, target: Path) -> None:
    """Make a folder that is whole another's content, in one step; a folder that was there first stays."""
    with suppress(FileExistsError), whole_folder(target) as building:
        for path in arrived.iterdir():
            path.rename(building / path.name)


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"a name must lead into the store, got {name!r}")
    return path


def _require_same(sent: Mapping[str, str], arrived: Mapping[str, str], what: str) -> None:
    if dict(sent) != dict(arrived):
        differ = sorted(name for name in {*sent, *arrived} if sent.get(name) != arrived.get(name))
        raise StoreCorrupt(f"{what} must be what was sent, but these files differ: {', '.join(differ)}; run it again")
