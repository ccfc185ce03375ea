"""How many trials may fit at once on a machine that is hot: a word in the store, and the places that it leaves.

A trial holds what it has claimed of the cluster, its thermal tokens too, until it ends. So tokens that are kept from
everyone do not reach the trials under way; these ask here before each fit, and while one runs.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from raytrain.data.atomic import replacing

LOOK_EVERY_S = 0.5
_FOLDER = "places"


class Word:
    """Says how many places there are. It counts for as long as this process lives; one process at a time says it.

    Args:
        store: whose trials heed it.
    """

    def __init__(self, store: Path) -> None:
        self._path, self._lock = _said(store), _speaker(store)
        self._places: int | None = None

    def say(self, places: int) -> bool:
        """Leave so many places.

        Returns:
            False while another process says how many there are, whose word counts.
        """
        if not self._lock.is_locked and not _take(self._lock):
            return False
        if places != self._places:
            with replacing(self._path) as file:
                file.write(str(places).encode())
            self._places = places
        return True

    def take_back(self) -> None:
        """As many places as anybody wants."""
        if self._lock.is_locked:
            self._path.unlink(missing_ok=True)
            self._places = None
            self._lock.release()


def num_places(store: Path) -> int | None:
    """How many trials of a store may fit at once; None when nobody who lives restricts them."""
    try:
        places = int(_said(store).read_text())
    except FileNotFoundError:
        return None
    speaker = _speaker(store)
    if not _take(speaker):
        return places
    speaker.release()
    return None


@contextmanager
def place(store: Path) -> Iterator[None]:
    """Wait for a place to fit in and hold it; the system frees it when this process dies, however it dies."""
    while (held := _free_place(store)) is None:
        time.sleep(LOOK_EVERY_S)
    try:
        yield
    finally:
        held.release()


def _free_place(store: Path) -> FileLock | None:
    """The first place that nobody holds, locked: with the lowest taken first, a shrinking empties the highest."""
    places = num_places(store)
    for number in itertools.count() if places is None else range(places):
        lock = _lock(store, f"place-{number}")
        if _take(lock):
            return lock
    return None


def _said(store: Path) -> Path:
    return store / _FOLDER / "said"


def _speaker(store: Path) -> FileLock:
    return _lock(store, "speaker")


def _lock(store: Path, name: str) -> FileLock:
    folder = store / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    # What one thread of a process has locked, another may release.
    return FileLock(folder / f"{name}.lock", thread_local=False)


def _take(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
