"""A tracker's library in a process of its own: given a time, and killed with all that it started when that is over."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from numbers import Real
from pathlib import Path
from typing import Any

import psutil

WRITER_TIMEOUT_S = 90.0
"""Two to four seconds are normal; the rest is for a machine under full load."""


def call_writer(module: str, arguments: Sequence[str], told: Any, environment: Mapping[str, str]) -> str:
    """Run `python -m MODULE ARGUMENTS`, with `told` as JSON on its input.

    Returns:
        The last line that it prints.

    Raises:
        subprocess.SubprocessError: it failed, or did not end within 90 s.
        OSError: it could not be started.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, ExitStack() as failed:
        failed.callback(_kill, process.pid)
        out, err = process.communicate(json.dumps(told, default=_plain), timeout=WRITER_TIMEOUT_S)
        failed.pop_all()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, module, out, err)
    return (out.splitlines() or [""])[-1]


def cause(error: Exception) -> str:
    """What went wrong, in one line without a full stop."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no end after {error.timeout:g} s"
    if isinstance(error, subprocess.CalledProcessError) and error.returncode > 0 and error.stderr.strip():
        return str(error.stderr.strip().splitlines()[-1]).rstrip(".")
    return str(error)


def _kill(pid: int) -> None:
    """End a process of ours and its helpers, which would hold its pipes open and outlive it."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _plain(value: Any) -> Any:
    """What JSON does not know: records, paths, other mappings and other numbers."""
    if isinstance(value, Path):
        return str(value.resolve())
    if isinstance(value, Real):
        return float(value)
    return dict(value) if isinstance(value, Mapping) else vars(value)
