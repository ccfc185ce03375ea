"""Which process works on which fit, as a file: so that a hung fit can be killed, and a running one asked to stop."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

LOOK_EVERY_S = 0.25


@dataclass
class Inflight:
    """A fit under way below `<store>/inflight/`."""

    path: Path
    _next_look: float = 0.0
    _asked: bool = False

    @classmethod
    @contextmanager
    def enter(cls, store: Path, key: str) -> Iterator[Self]:
        """Mark this process as working on `key` for as long as the `with` lasts.

        A stop that was asked for while this process was starting counts; one that a dead predecessor did not live to
        see does not.
        """
        inflight = cls(store / "inflight" / f"{key}.json")
        inflight.path.parent.mkdir(parents=True, exist_ok=True)
        if inflight.path.exists():
            inflight._stop_file.unlink(missing_ok=True)
        me = psutil.Process()
        who = {"pid": me.pid, "created": me.create_time(), "host": socket.gethostname()}
        inflight.path.write_text(json.dumps(who))
        try:
            yield inflight
        finally:
            _forget(inflight.path)

    @property
    def _stop_file(self) -> Path:
        return self.path.with_suffix(".stop")

    def should_stop(self) -> bool:
        """Whether someone asked this fit to stop; looks at the disk a few times a second at most."""
        now = time.monotonic()
        if not self._asked and now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self._asked = self._stop_file.exists()
        return self._asked


def ask_stop(store: Path, key: str) -> None:
    """Ask the fit to stop at its next safe point."""
    (store / "inflight").mkdir(parents=True, exist_ok=True)
    (store / "inflight" / f"{key}.stop").touch()


def clear(store: Path, key: str) -> None:
    """Forget what an earlier try left: a stop that came after its end would be heeded by the next one."""
    _forget(store / "inflight" / f"{key}.json")


def has_begun(store: Path, key: str) -> bool:
    """Whether a process works on the fit, on whatever host."""
    return (store / "inflight" / f"{key}.json").exists()


def resident_bytes(store: Path, key: str) -> int | None:
    """Resident memory of the process that works on `key`; None when it is not on this host, or gone.

    On macOS compressed pages are missing from it, so it is less than what the process holds.
    """
    process = _holder(store / "inflight" / f"{key}.json")
    try:
        return None if process is None else int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return None


def kill(store: Path, key: str) -> bool:
    """Kill the process that works on `key`, if it is on this host and still the one that wrote the file.

    A hang in native code holds the interpreter and ignores every softer request.
    """
    path = store / "inflight" / f"{key}.json"
    process = _holder(path)
    if process is None:
        return False
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    _forget(path)
    return True


def sweep(store: Path) -> None:
    """Forget the fits of this host whose process is gone, and stops that nobody is left to heed."""
    folder = store / "inflight"
    for path in {path.with_suffix(".json") for path in folder.glob("*.*")}:
        if _is_of_this_host(path) and _holder(path) is None:
            _forget(path)


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".stop").unlink(missing_ok=True)


def _is_of_this_host(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text())["host"] == socket.gethostname())
    except (OSError, ValueError, KeyError):
        return True


def _holder(path: Path) -> psutil.Process | None:
    try:
        who = json.loads(path.read_text())
        process = psutil.Process(who["pid"])
        same = who["host"] == socket.gethostname() and abs(process.create_time() - who["created"]) < 1.0
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if same else None
