"""Heat, memory and time: how much may run, who is asked to make room, who is ended, and how a fit comes back."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import inf
from typing import Any

from raytrain.schedule.words import (
    Ask,
    AskStop,
    Capacity,
    Instruction,
    Kill,
    KillReason,
    MemoryLevel,
    Reserve,
    Running,
    Settings,
    Task,
    ThermalLevel,
)

_SHORT = ("warn", "rising", "critical")


class Governors:
    """What heat and memory ask for.

    Args:
        tasks: what each fit needs; the state's own.
        running: the fits under way; the state's own, of which whom was asked or is being ended is noted here.
        capacity: what the machine gives to fits.
        settings: how patient the scheduler is.
    """

    def __init__(
        self, tasks: Mapping[str, Task], running: dict[str, Running], capacity: Capacity, settings: Settings
    ) -> None:
        self.thermal: ThermalLevel = "unknown"
        self.memory: MemoryLevel = "unknown"
        self.asks: dict[str, int] = {}
        """Key -> how often it was asked to make room."""
        self.reserved_tokens = 0
        self._tasks, self._running = tasks, running
        self._capacity, self._settings = capacity, settings
        self._next_ask = self._next_kill = -inf

    @property
    def core_limit(self) -> int:
        """Cores that may be held before nothing new is admitted."""
        if self.memory == "critical":
            return 0
        # Someone else may hold the memory all night: one fit at a time still ends the run.
        return min(1, self._cool_cores) if self.memory_is_short else self._cool_cores

    @property
    def memory_is_short(self) -> bool:
        """Whether nothing may be kept that is not used."""
        return self.memory in _SHORT

    @property
    def _cool_cores(self) -> int:
        if self.thermal == "stop":
            return 0
        return max(1, self._capacity.cores // 2) if self.thermal == "shrink" else self._capacity.cores

    def note(self, key: str, **facts: Any) -> None:
        """Write down what is known of a running fit."""
        self._running[key] = replace(self._running[key], **facts)

    def heat(self, level: ThermalLevel) -> Iterator[Instruction]:
        """Take in the heat; at `stop` everything that runs is asked to make room."""
        self.thermal = level
        yield from self.reserve(self._capacity.cores - self._cool_cores)
        if level == "stop":
            yield from self.ask_all("heat")

    def resize(self, capacity: Capacity) -> Iterator[Instruction]:
        """Take in that there are more or fewer cores."""
        self._capacity = capacity
        yield from self.reserve(capacity.cores - self._cool_cores)

    def reserve(self, tokens: int) -> Iterator[Reserve]:
        """Change how many thermal tokens are kept from everyone."""
        if tokens != self.reserved_tokens:
            self.reserved_tokens = tokens
            yield Reserve(tokens)

    def ask_all(self, why: Ask) -> Iterator[AskStop]:
        """Ask every running fit that may be asked and was not."""
        for key in self._askable(why):
            yield self._ask(key, why)

    def relieve(self, at: float) -> Iterator[Instruction]:
        """Make room while memory gets shorter: of one fit at a time, then wait for its memory.

        In a run that was told to stop everything has been asked already, and killing stays.
        """
        if self.memory == "critical" and at >= self._next_kill and (key := self._most_over_estimate()):
            self._next_kill = self._next_ask = at + self._settings.relief_s
            yield self._kill(key, "oom")
        if self.memory in ("rising", "critical") and at >= self._next_ask and (key := self._largest()):
            self._next_ask = at + self._settings.relief_s
            yield self._ask(key, "memory")

    def kill_homeless(self, keys: Iterable[str]) -> Iterator[Kill]:
        """End what waits in the cluster for a machine that is gone."""
        for key in keys:
            if not self._running[key].kill_sent:
                yield self._kill(key, "room")

    def kill_overdue(self, at: float) -> Iterator[Kill]:
        """End what is over its deadline.

        It looks at each running fit: at most as many as there are cores and slots, however many wait.
        """
        for key, run in self._running.items():
            deadline_s = self._tasks[key].deadline_s
            if deadline_s is None or run.began_at is None or run.kill_sent:
                continue
            if at - run.began_at > deadline_s:
                yield self._kill(key, "timeout")

    def _askable(self, why: Ask) -> list[str]:
        patient = self.asks if why != "stop" else {}
        return [
            key
            for key, run in self._running.items()
            if run.asked is None and not run.kill_sent and patient.get(key, 0) < self._settings.max_yields
        ]

    def _ask(self, key: str, why: Ask) -> AskStop:
        self.note(key, asked=why)
        if why != "stop":
            self.asks[key] = self.asks.get(key, 0) + 1
        return AskStop(key)

    def _kill(self, key: str, reason: KillReason) -> Kill:
        self.note(key, kill_sent=True)
        return Kill(key, reason)

    def _largest(self) -> str | None:
        """The running fit whose end frees most memory; None when nothing would be gained.

        A fit alone on one thread cannot come back smaller than it is.
        """
        if len(self._running) == 1 and all(run.threads == 1 for run in self._running.values()):
            return None
        return max(
            self._askable("memory"),
            key=lambda key: max(self._running[key].memory_bytes, self._tasks[key].memory_bytes),
            default=None,
        )

    def _most_over_estimate(self) -> str | None:
        """The running fit that takes most beyond what was predicted of it; None when all keep to it."""
        over = {
            key: run.memory_bytes - self._tasks[key].memory_bytes
            for key, run in self._running.items()
            if run.memory_bytes > self._tasks[key].memory_bytes and not run.kill_sent
        }
        return max(over, key=over.__getitem__, default=None)


def smaller(task: Task, run: Running, capacity: Capacity) -> Task:
    """A fit that made room: on one thread, after the others, with the memory that it was seen to take."""
    seen = min(run.memory_bytes, capacity.memory_bytes)
    return replace(task, max_threads=1, priority=task.priority - 1, memory_bytes=max(task.memory_bytes, seen))


def alone(task: Task, capacity: Capacity) -> Task:
    """A fit that ran out of memory: on one thread, and with all the memory there is, so that nothing runs beside it."""
    return replace(task, max_threads=1, memory_bytes=capacity.memory_bytes)
