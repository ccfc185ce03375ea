"""What the scheduler learns about the machine beside the fits' ends, and what it keeps from others."""

import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util import placement_group, remove_placement_group

from raytrain.cluster.places import Word
from raytrain.cluster.senses import Senses
from raytrain.schedule.words import Event, FitBegan, FitMeasured, IdleMeasured, MemoryChanged, ThermalChanged
from raytrain.work import inflight

THERMAL = "thermal"
_STEP_BYTES = 64 * 2**20
"""Changes of a process's memory that are worth an event."""
_IDLE_TITLE = "ray::IDLE"


class Governor:
    """Looks at heat, memory and processes.

    Heat and memory of this machine say nothing about the others, so on a cluster that is not exactly this machine they
    are shown and not heeded; there Ray's own memory monitor watches each node.

    Args:
        senses: the sensors.
        store: whose `inflight` folder says who works on what.
    """

    def __init__(self, senses: Senses, store: Path) -> None:
        self._senses, self._store = senses, store
        self._governs = _is_the_cluster()
        self._tokens = Tokens(Word(store))
        self._workers = Workers()
        self._begun: set[str] = set()
        self._taken_bytes: dict[str, int] = {}
        """Key -> what its process took when it was last told of."""
        self._heat = self._strain = "unknown"
        self._idle_bytes = 0

    def look(self, now: float, keys: Collection[str]) -> Iterator[Event]:
        """What changed since the last look.

        Args:
            now: on the clock of events.
            keys: the fits that were started and have not ended.
        """
        for key in keys:
            if key not in self._begun and inflight.has_begun(self._store, key):
                self._begun.add(key)
                yield FitBegan(at=now, key=key)
        if self._governs:
            yield from self._look_at_memory(now, keys)
            yield from self._look_at_heat(now)
            self._tokens.keep_on()

    def ended(self, key: str, worker: str | None) -> None:
        """A fit ended; its worker, `host:pid`, is kept by Ray for the next one unless it died."""
        self._begun.discard(key)
        self._taken_bytes.pop(key, None)
        if worker is not None and self._governs:
            self._workers.remember(worker)

    def reserve(self, tokens: int) -> None:
        """Keep thermal tokens from everyone on the cluster, and their places from the trials of the store."""
        self._tokens.keep(tokens)

    def end_idle(self) -> None:
        """End the processes in which nothing runs."""
        self._workers.end_idle()
        self._idle_bytes = 0

    def close(self) -> None:
        """Give everything back."""
        self._tokens.keep(0)

    def _look_at_heat(self, now: float) -> Iterator[Event]:
        level = self._senses.heat.level
        if level != self._heat:
            self._heat = level
            yield ThermalChanged(at=now, level=level)

    def _look_at_memory(self, now: float, keys: Collection[str]) -> Iterator[Event]:
        strain = self._senses.strain
        if strain not in ("normal", "unknown"):
            # Before the change itself: who is over its estimate must be known when somebody has to go.
            for key in self._begun.intersection(keys):
                taken = inflight.resident_bytes(self._store, key)
                if taken is not None and abs(taken - self._taken_bytes.get(key, 0)) >= _STEP_BYTES:
                    self._taken_bytes[key] = taken
                    yield FitMeasured(at=now, key=key, memory_bytes=taken)
        idle_bytes = self._workers.idle_bytes() // _STEP_BYTES * _STEP_BYTES
        if idle_bytes != self._idle_bytes:
            self._idle_bytes = idle_bytes
            yield IdleMeasured(at=now, memory_bytes=idle_bytes)
        if strain != self._strain:
            self._strain = strain
            yield MemoryChanged(at=now, level=strain)


def _is_the_cluster() -> bool:
    """Whether the cluster is this machine and no other."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return len(nodes) == 1 and nodes[0]["NodeManagerHostname"] == socket.gethostname()


class Tokens:
    """Thermal tokens that nobody may claim: fits of other jobs, sweeps and notebooks on this cluster included.

    Each is a placement group of its own, which takes its token as soon as one is free; running fits keep theirs. They
    go with the driver, however it ends.

    Args:
        word: tells the trials, which hold their tokens between their fits too. Two jobs of one store that feel the same
            heat do not keep twice as many: who has the word keeps them.
    """

    def __init__(self, word: Word) -> None:
        self._word = word
        self._groups: list[Any] = []
        self._wanted = 0

    def keep(self, tokens: int) -> None:
        """Hold so many, unless another job of the store does; a cluster that does not count heat has none to hold."""
        self._wanted = tokens
        self.keep_on()

    def keep_on(self) -> None:
        """Take over when the other job is gone."""
        if not self._wanted:
            self._hold(0)
            self._word.take_back()
        elif self._word.say(_num_cores() - self._wanted):
            self._hold(self._wanted)

    def _hold(self, tokens: int) -> None:
        if tokens > len(self._groups) and THERMAL not in ray.cluster_resources():
            return
        while len(self._groups) > tokens:
            remove_placement_group(self._groups.pop())
        while len(self._groups) < tokens:
            self._groups.append(placement_group([{THERMAL: 1}]))


def _num_cores() -> int:
    """Cores for fits of a cluster of one machine."""
    offered = ray.cluster_resources()
    return int(min(offered[name] for name in ("CPU", "pcore", THERMAL) if name in offered))


class Workers:
    """The processes on this machine that worked for us; Ray keeps them, their engine loaded, for the next fit."""

    def __init__(self) -> None:
        self._seen: dict[int, psutil.Process] = {}

    def remember(self, worker: str) -> None:
        """A process, as `host:pid`, that gave a result."""
        pid = int(worker.rpartition(":")[2])
        if pid not in self._seen or not self._seen[pid].is_running():
            try:
                self._seen[pid] = psutil.Process(pid)
            except psutil.NoSuchProcess:
                self._seen.pop(pid, None)

    def idle_bytes(self) -> int:
        """What those take that have nothing to do."""
        return sum(map(_resident_bytes, self._idle()))

    def end_idle(self) -> None:
        """End those that have nothing to do, and see them gone."""
        idle = self._idle()
        for process in idle:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(idle, timeout=2)

    def _idle(self) -> list[psutil.Process]:
        self._seen = {pid: process for pid, process in self._seen.items() if process.is_running()}
        return [process for process in self._seen.values() if _title(process) == _IDLE_TITLE]


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _title(process: psutil.Process) -> str:
    """What a process calls itself: Ray's workers name the task that they run."""
    try:
        return " ".join(process.cmdline()).strip()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
