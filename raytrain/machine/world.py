"""How the machine is read: commands and files, all replaceable so that a test can play any machine."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

SYSCTL = "/usr/sbin/sysctl"
COMMAND_TIMEOUT_S = 10.0


def run_text(command: Sequence[str]) -> str | None:
    """What a command prints; None when it is absent, fails, or takes over 10 s."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def read_text(path: str) -> str | None:
    """The content of a file; None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def usable_cpus() -> int:
    """The logical CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> tuple[int, int, int]:
    """Bytes of memory installed, available without swapping, and of swap in use."""
    memory = psutil.virtual_memory()
    return memory.total, memory.available, psutil.swap_memory().used


def temperatures() -> dict[str, list[float]]:
    """Celsius by chip; empty where the system offers none (macOS, virtual machines)."""
    read = getattr(psutil, "sensors_temperatures", dict)
    return {chip: [entry.current for entry in entries] for chip, entries in read().items()}


@dataclass(frozen=True, kw_only=True)
class World:
    """The doors through which the machine is read."""

    system: str = field(default_factory=platform.system)
    """`Darwin`, `Linux`, ..."""
    machine: str = field(default_factory=platform.machine)
    """`arm64`, `x86_64`, ...; what this process runs as, so `x86_64` under Rosetta."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    run: Callable[[Sequence[str]], str | None] = run_text
    read: Callable[[str], str | None] = read_text
    which: Callable[[str], str | None] = shutil.which
    cpus: Callable[[], int] = usable_cpus
    memory: Callable[[], tuple[int, int, int]] = memory_bytes
    temperatures: Callable[[], dict[str, list[float]]] = temperatures

    def sysctl(self, key: str) -> str | None:
        """One key of macOS; None when it is missing. One call per key: a missing one fails a whole call."""
        text = self.run([SYSCTL, "-n", key])
        return text.strip() if text is not None else None

    def sysctl_number(self, key: str) -> int | None:
        """One whole number of macOS; None when the key is missing or holds something else."""
        return number(self.sysctl(key))


def number(text: str | None) -> int | None:
    """A whole number of at least 0; None for anything else.

    >>> number("25769803776"), number("max"), number(None)
    (25769803776, None, None)
    """
    stripped = text.strip() if text is not None else ""
    return int(stripped) if stripped.isdecimal() else None
