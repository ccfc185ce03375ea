"""The scheduler's state: an event in, instructions out.

A task is in exactly one place at any time:

    waiting --> ready <--> running --> done
       |          |           |------> failed
       +----------+-----------+------> skipped    (its dependency failed, or the run was stopped)

A running fit goes back to ready when it crashed, ran out of memory or made room, so many times and no more.

Everything is found through heaps and counters, so an event costs the same however many fits wait.
"""

from collections import deque
from collections.abc import Iterable, Iterator, KeysView, Mapping
from math import inf
from types import MappingProxyType
from typing import assert_never

from raytrain.schedule import governors, invariants
from raytrain.schedule.admission import Admission
from raytrain.schedule.checks import checked
from raytrain.schedule.governors import Governors
from raytrain.schedule.machines import Machines
from raytrain.schedule.policy import Policy
from raytrain.schedule.words import (
    AskStop,
    Capacity,
    CapacityChanged,
    EndIdle,
    Event,
    Failed,
    FailReason,
    Finished,
    FitBegan,
    FitEvent,
    FitFailed,
    FitFinished,
    FitMeasured,
    FitStopped,
    IdleMeasured,
    Instruction,
    MemoryChanged,
    ReleaseSlot,
    Running,
    Settings,
    Skipped,
    Start,
    StopRequested,
    Task,
    ThermalChanged,
    Tick,
)

_STORY_TAIL = 40


class State:
    """What a run knows and decides.

    Raises:
        ScheduleError: a key twice, numbers without sense, a dependency that is unknown or goes round in a circle.
        CannotFit: a task that this capacity could never run.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        capacity: Capacity,
        *,
        policy: Policy | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._tasks = checked(tasks, capacity)
        self.tasks: Mapping[str, Task] = MappingProxyType(self._tasks)
        """What each fit needs; one that comes back smaller is replaced."""
        self.capacity = capacity
        self.settings = settings or Settings()
        self.stopping = False
        self.story: deque[tuple[Event, tuple[Instruction, ...]]] = deque(maxlen=_STORY_TAIL)
        """The latest events and what was decided."""
        self._admission = Admission(capacity, policy or Policy(self._tasks.values()), self.settings)
        self._waiting: dict[str, int] = {}
        """Key -> how many of its dependencies are not done."""
        self._dependents: dict[str, list[str]] = {}
        # Dicts, not sets: iteration is in order of arrival, the same in every process.
        self._ready: dict[str, None] = {}
        self._running: dict[str, Running] = {}
        self._done: dict[str, None] = {}
        self._failed: dict[str, Failed] = {}
        self._skipped: dict[str, Skipped] = {}
        self._failed_tries: dict[str, int] = {}
        self.governors = Governors(self._tasks, self._running, capacity, self.settings)
        """How hot the machine is, how short its memory, and what follows."""
        self._machines = Machines(capacity.slot_host_cores)
        self._remaining_work_s = 0.0
        self._told_finished = False
        for task in self._tasks.values():
            self._add(task)

    @property
    def waiting(self) -> KeysView[str]:
        """Fits whose dependencies are not done."""
        return self._waiting.keys()

    @property
    def ready(self) -> KeysView[str]:
        """Fits that could start if there were room."""
        return self._ready.keys()

    @property
    def running(self) -> Mapping[str, Running]:
        """Fits under way."""
        return MappingProxyType(self._running)

    @property
    def done(self) -> KeysView[str]:
        """Fits that finished, in order."""
        return self._done.keys()

    @property
    def failed(self) -> Mapping[str, Failed]:
        """Fits given up."""
        return MappingProxyType(self._failed)

    @property
    def skipped(self) -> Mapping[str, Skipped]:
        """Fits that will not run."""
        return MappingProxyType(self._skipped)

    @property
    def num_unfinished(self) -> int:
        """Fits that have no final state yet."""
        return len(self._waiting) + len(self._ready) + len(self._running)

    @property
    def remaining_work_s(self) -> float:
        """Predicted seconds of all unfinished fits; a running one counts in full."""
        return self._remaining_work_s if self.num_unfinished else 0.0

    @property
    def core_limit(self) -> int:
        """Cores that may be held before nothing new is admitted; 0 while heat, memory or a stop forbid it."""
        return 0 if self.stopping else self.governors.core_limit

    def start(self, at: float) -> list[Instruction]:
        """The first instructions; the same as a first `Tick`."""
        return self.handle(Tick(at=at))

    def handle(self, event: Event) -> list[Instruction]:
        """Take in what happened.

        Returns:
            What to do now, in this order.

        Raises:
            AssertionError: the event cannot be true (a fit ended that does not run): a defect of the caller.
        """
        instructions = [*self._react(event), *self._admit()]
        if self._told_finished:
            # Heat and memory go on to change, and nobody is left to make room.
            instructions = []
        elif not self.num_unfinished:
            self._told_finished = True
            instructions += [*self.governors.reserve(0), Finished()]
        self.story.append((event, tuple(instructions)))
        return instructions

    def validate(self) -> None:
        """Check every invariant, slowly; for tests.

        Raises:
            AssertionError: an invariant is broken; the message ends with the latest events.
        """
        broken = [*invariants.broken(self), *invariants.broken_accounts(self, self._admission)]
        assert not broken, self._with_story("; ".join(broken))

    def _add(self, task: Task) -> None:
        self._remaining_work_s += task.work_s
        for key in task.after:
            self._dependents.setdefault(key, []).append(task.key)
        if task.after:
            self._waiting[task.key] = len(task.after)
        else:
            self._make_ready(task)

    def _make_ready(self, task: Task) -> None:
        """Let a task wait for room; one that no machine could hold has failed."""
        housed = self._machines.housed(task)
        if housed is None:
            self._give_up(task.key, "room")
            return
        self._tasks[task.key] = housed
        self._ready[task.key] = None
        self._admission.add(housed)

    def _react(self, event: Event) -> Iterator[Instruction]:
        match event:
            case FitBegan() | FitMeasured() | FitFinished() | FitFailed() | FitStopped():
                self._react_of_fit(event)
            case ThermalChanged():
                yield from self.governors.heat(event.level)
            case MemoryChanged():
                self.governors.memory = event.level
                yield from self.governors.relieve(event.at)
            case IdleMeasured():
                self._admission.ledger.idle_memory_bytes = event.memory_bytes
            case CapacityChanged():
                yield from self._resize(event)
            case StopRequested():
                yield from self._stop()
            case Tick():
                yield from self.governors.kill_overdue(event.at)
                yield from self.governors.relieve(event.at)
            case _:
                assert_never(event)

    def _react_of_fit(self, event: FitEvent) -> None:
        key = event.key
        assert key in self._running, self._with_story(f"{key} ended, but it does not run")
        match event:
            case FitBegan():
                self.governors.note(key, began_at=event.at)
            case FitMeasured():
                self.governors.note(key, memory_bytes=event.memory_bytes)
            case FitFinished():
                self._end(key)
                self._finish(key)
            case FitFailed():
                self._end(key, dead=event.reason != "error")
                self._fail_or_retry(event)
            case FitStopped():
                self._stop_or_yield(key)
            case _:
                assert_never(event)

    def _end(self, key: str, *, dead: bool = False) -> Running:
        run = self._running.pop(key)
        self._admission.leave(self._tasks[key], run, dead=dead)
        return run

    def _stop_or_yield(self, key: str) -> None:
        assert self._running[key].asked, self._with_story(f"{key} stopped, but nobody asked it to")
        run = self._end(key)
        if self.stopping:
            self._skip(key, Skipped("stopped"))
            return
        if run.asked == "memory":
            self._come_back(key, governors.smaller(self._tasks[key], run, self.capacity))
        self._make_ready(self._tasks[key])

    def _come_back(self, key: str, changed: Task) -> None:
        self._machines.note_prediction(self._tasks[key])
        self._tasks[key] = changed

    def _resize(self, event: CapacityChanged) -> Iterator[Instruction]:
        self.capacity = self._machines.resize(event)
        self._admission.resize(self.capacity)
        yield from self.governors.resize(self.capacity)
        ready = list(self._ready)
        self._ready.clear()
        self._admission.clear()
        for key in ready:
            self._make_ready(self._tasks[key])
        for key in list(self._waiting):
            # One that waits for a fit given up here is gone meanwhile.
            if key in self._waiting and self._machines.housed(self._tasks[key]) is None:
                del self._waiting[key]
                self._give_up(key, "room")
        yield from self.governors.kill_homeless(self._machines.homeless(self._running, self._tasks))

    def _finish(self, key: str) -> None:
        self._done[key] = None
        self._remaining_work_s -= self._tasks[key].work_s
        for dependent in self._dependents.get(key, ()):
            if dependent not in self._waiting:
                continue
            self._waiting[dependent] -= 1
            if self._waiting[dependent] == 0:
                del self._waiting[dependent]
                self._make_ready(self._tasks[dependent])

    def _fail_or_retry(self, event: FitFailed) -> None:
        key = event.key
        # What waited for a machine that is gone was not tried.
        tries = self._failed_tries[key] = self._failed_tries.get(key, 0) + (event.reason != "room")
        allowed = {"crash": self.settings.max_tries, "oom": self.settings.oom_tries, "room": inf}.get(event.reason, 1)
        if not event.retryable or tries >= allowed:
            self._give_up(key, event.reason)
        elif self.stopping:
            # Signals reach the workers too: what would have been tried again was stopped, it did not fail.
            self._skip(key, Skipped("stopped"))
        else:
            if event.reason == "oom":
                self._come_back(key, governors.alone(self._tasks[key], self.capacity))
            self._make_ready(self._tasks[key])

    def _give_up(self, key: str, reason: FailReason) -> None:
        self._failed[key] = Failed(reason, self._failed_tries.get(key, 0))
        self._remaining_work_s -= self._tasks[key].work_s
        self._skip_dependents(key)

    def _skip(self, key: str, why: Skipped) -> None:
        self._skipped[key] = why
        self._remaining_work_s -= self._tasks[key].work_s

    def _skip_dependents(self, cause: str) -> None:
        stack = [cause]
        while stack:
            for key in self._dependents.get(stack.pop(), ()):
                if key in self._waiting:
                    del self._waiting[key]
                    self._skip(key, Skipped("dependency", cause))
                    stack.append(key)

    def _stop(self) -> Iterator[AskStop]:
        if self.stopping:
            return
        self.stopping = True
        for key in (*self._waiting, *self._ready):
            self._skip(key, Skipped("stopped"))
        self._waiting.clear()
        self._ready.clear()
        self._admission.clear()
        yield from self.governors.ask_all("stop")

    def _end_idle(self) -> Iterator[EndIdle]:
        ledger = self._admission.ledger
        if ledger.idle_memory_bytes and (self.governors.memory_is_short or self._admission.needs_idle_memory()):
            ledger.idle_memory_bytes = 0
            yield EndIdle()

    def _admit(self) -> Iterator[Instruction]:
        self._admission.core_limit = self.core_limit
        while True:
            yield from map(ReleaseSlot, self._admission.release_slots())
            yield from self._end_idle()
            place = self._admission.next_place()
            if place is None:
                return
            task = place.task
            del self._ready[task.key]
            self._running[task.key] = Running(task.lane, task.engine, place.threads, place.slot)
            yield Start(task.key, task.lane, task.engine, place.threads, place.slot)

    def _with_story(self, what: str) -> str:
        lines = [f"  {event} -> {list(instructions)}" for event, instructions in self.story]
        return "\n".join([what, "the story so far, newest last:", *lines])
