"""Keeping the machine awake while a run goes on."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CAFFEINATE = Path("/usr/bin/caffeinate")


@contextmanager
def keep_awake() -> Iterator[None]:
    """Hold off idle sleep on macOS; the display may sleep. Elsewhere this does nothing.

    The assertion also ends with this process (`-w`), so a killed run lets the machine sleep again.
    """
    if platform.system() != "Darwin" or not CAFFEINATE.exists():
        yield
        return
    command = [str(CAFFEINATE), "-is", "-w", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as caffeinate:
        try:
            yield
        finally:
            caffeinate.terminate()
