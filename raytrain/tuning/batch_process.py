"""A probe in a process of its own, which may run out of memory, hang or die without harm to anybody."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import psutil

from raytrain.engines.base import Engine
from raytrain.engines.memory import died_of_memory
from raytrain.engines.process import KerasBackend, engine_env
from raytrain.machine.sensors import Memory, memory
from raytrain.machine.world import read_text
from raytrain.work.batch_search import Measured, Status, in_gib
from raytrain.work.probe import LIFELINE, Probe

LOOK_S = 0.05
MIN_FREE = 0.06
"""Share of the machine's memory that a probe must leave to all others; Ray kills at 0.05."""


@dataclass(frozen=True, kw_only=True)
class _End:
    """How a process ended."""

    exit_code: int
    """Below 0: the signal."""
    killed_for: tuple[Status, str] | None
    """Why we have killed it."""
    peak_bytes: int
    answer: str
    errors: str


def run_probe(
    probe: Probe,
    engine: Engine,
    *,
    timeout_s: float,
    keras_backend: KerasBackend = "tensorflow",
    look: Callable[[], Memory] = memory,
) -> Measured:
    """Measure one batch size; whatever happens to the process becomes an answer.

    Args:
        probe: what is measured.
        engine: that the process loads.
        timeout_s: seconds after which it is killed.
        keras_backend: what Keras computes with.
        look: the memory of the machine.
    """
    kernel_kills = _kernel_kills()
    env = os.environ | engine_env(engine, probe.threads, probe.spec.device, keras_backend)
    with _process(probe, env) as (process, output, errors):
        killed_for, peak = _watch(process, probe, timeout_s, look)
        end = _End(
            exit_code=process.wait(),
            killed_for=killed_for,
            peak_bytes=peak,
            answer=_read(output),
            errors=_read(errors),
        )
    return _judge(probe, end, killed_by_kernel=_kernel_kills() > kernel_kills)


@contextmanager
def _process(probe: Probe, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """A process that is gone when the block ends, or when this process does; its files have no names."""
    theirs, ours = os.pipe()
    command = [sys.executable, "-m", "raytrain.work.probe"]
    env = env | {LIFELINE: str(theirs)}
    with tempfile.TemporaryFile() as order, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        order.write(probe.to_json().encode())
        order.seek(0)
        try:
            process = subprocess.Popen(
                command, env=env, stdin=order, stdout=output, stderr=errors, pass_fds=[theirs], start_new_session=True
            )
        finally:
            os.close(theirs)
        try:
            yield process, output, errors
        finally:
            os.close(ours)
            process.kill()
            process.wait()


def _watch(
    process: subprocess.Popen[bytes], probe: Probe, timeout_s: float, look: Callable[[], Memory]
) -> tuple[tuple[Status, str] | None, int]:
    """Wait for the end, and bring it about when the process takes too much or too long; also the peak in bytes."""
    deadline, peak = time.monotonic() + timeout_s, 0
    while process.poll() is None:
        held = _resident(process.pid)
        peak = max(peak, held)
        if reason := _too_much(held, probe, look()):
            process.kill()
            return ("out_of_memory", reason), peak
        if time.monotonic() >= deadline:
            process.kill()
            return ("failed", f"no answer within {timeout_s:g} s; raise batch.timeout_s"), peak
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
    return None, peak


def _too_much(held: int, probe: Probe, machine: Memory) -> str:
    """Why a process must go before it harms others; empty when it need not.

    On a Mac nothing else would end it: the system swaps until nobody can work.
    """
    if probe.spec.device == "cpu" and held > probe.limit_bytes:
        return f"it held {in_gib(held)} of the {in_gib(probe.limit_bytes)} that there are"
    if machine.available_bytes < MIN_FREE * machine.total_bytes:
        free = in_gib(machine.available_bytes)
        return f"it left {free} free of the machine's {in_gib(machine.total_bytes)}, with all others that run on it"
    return ""


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _judge(probe: Probe, end: _End, *, killed_by_kernel: bool) -> Measured:
    """What has become of the probe, as far as it can be known."""
    if end.killed_for is not None:
        return _without_answer(probe, end, *end.killed_for)
    if died_of_memory(end.errors):
        return _without_answer(probe, end, "out_of_memory", _last_line(end.errors))
    if end.exit_code == 0 and end.answer:
        told = Measured.from_json(end.answer)
        return told if told.status == "ok" else _without_answer(probe, end, told.status, told.cause)
    if end.exit_code == -signal.SIGKILL and killed_by_kernel:
        return _without_answer(probe, end, "out_of_memory", "the kernel killed it, as memory ran out")
    how = f"signal {-end.exit_code}" if end.exit_code < 0 else f"exit code {end.exit_code}"
    said = _last_line(end.errors)
    return _without_answer(probe, end, "failed", f"its process ended with {how}" + (f": {said}" if said else ""))


def _without_answer(probe: Probe, end: _End, status: Status, cause: str) -> Measured:
    return Measured(
        batch_size=probe.batch_size,
        status=status,
        cause=cause,
        peak_memory_bytes=end.peak_bytes if probe.spec.device == "cpu" else None,
        memory_bytes=probe.limit_bytes if probe.spec.device == "cpu" else None,
    )


def _last_line(text: str) -> str:
    """The last thing that was said about memory, or at all."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if died_of_memory(line)), lines[-1] if lines else "")[:500]


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _kernel_kills() -> int:
    """How often Linux has killed for want of memory since it was started, in whatever container; 0 elsewhere."""
    counters = dict(line.split() for line in (read_text("/proc/vmstat") or "").splitlines())
    return int(counters.get("oom_kill", 0))
