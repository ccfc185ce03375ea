"""One run at a time per store."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from raytrain.errors import ConfigError, StoreLocked


@contextmanager
def hold(store: Path, what: str) -> Iterator[None]:
    """Hold the store; the system frees the lock when this process dies, however it dies.

    Raises:
        StoreLocked: another run holds it; the message names that run.
        ConfigError: nothing can be written there.
    """
    note = store / "lock.json"
    lock = FileLock(store / ".lock")
    try:
        store.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreLocked(
            f"one run at a time may hold {store}, now it is {_holder(note)}; wait for it or end it"
        ) from None
    except OSError as error:
        raise ConfigError(f"store must be a folder that can be written, got {store} ({error}); name another") from None
    try:
        note.write_text(json.dumps({"pid": os.getpid(), "what": what, "since": time.strftime("%Y-%m-%d %H:%M:%S")}))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> str:
    try:
        values = json.loads(note.read_text())
    except (OSError, ValueError):
        return "a run that left no name"
    return f"{values['what']} with pid {values['pid']} since {values['since']}"
