"""The scheduler's state: an event in, instructions out.

A task is in exactly one place at any time:

    waiting --> ready <--> running --> done
       |          |           |------> failed
       +----------+-----------+------> skipped    (its dependency failed, or the run was stopped)

Everything is found through heaps and counters, so an event costs the same however many fits wait.
"""

from collections import deque
from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never

from raytrain.schedule import invariants
from raytrain.schedule.admission import Admission
from raytrain.schedule.checks import checked
from raytrain.schedule.policy import Policy
from raytrain.schedule.words import (
    AskStop,
    Capacity,
    Event,
    Failed,
    Finished,
    FitFailed,
    FitFinished,
    FitStopped,
    Instruction,
    Kill,
    MemoryChanged,
    MemoryLevel,
    ReleaseSlot,
    Running,
    Settings,
    Skipped,
    Start,
    StopRequested,
    Task,
    ThermalChanged,
    ThermalLevel,
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
        self.tasks: Mapping[str, Task] = checked(tasks, capacity)
        self.capacity = capacity
        self.settings = settings or Settings()
        self.thermal: ThermalLevel = "unknown"
        self.memory: MemoryLevel = "unknown"
        self.stopping = False
        self.story: deque[tuple[Event, tuple[Instruction, ...]]] = deque(maxlen=_STORY_TAIL)
        """The latest events and what was decided."""
        self._admission = Admission(capacity, policy or Policy(), self.settings)
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
        self._remaining_work_s = 0.0
        self._told_finished = False
        for task in self.tasks.values():
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
        if self.stopping or self.thermal == "stop" or self.memory == "critical":
            return 0
        if self.memory == "warn":
            # Someone else may hold the memory all night: one fit at a time still ends the run.
            return 1
        return max(1, self.capacity.cores // 2) if self.thermal == "shrink" else self.capacity.cores

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
        instructions = [*self._react(event), *self._admit(event.at)]
        if not self.num_unfinished and not self._told_finished:
            self._told_finished = True
            instructions.append(Finished())
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
        self._ready[task.key] = None
        self._admission.add(task)

    def _react(self, event: Event) -> Iterator[Instruction]:
        match event:
            case FitFinished():
                self._end(event.key)
                self._finish(event.key)
            case FitFailed():
                self._end(event.key, dead=event.reason != "error")
                self._fail_or_retry(event)
            case FitStopped():
                assert self.stopping, self._with_story(f"{event.key} stopped, but nobody asked it to")
                self._end(event.key)
                self._skip(event.key, Skipped("stopped"))
            case ThermalChanged():
                self.thermal = event.level
            case MemoryChanged():
                self.memory = event.level
            case StopRequested():
                yield from self._stop()
            case Tick():
                yield from self._kill_overdue(event.at)
            case _:
                assert_never(event)

    def _end(self, key: str, *, dead: bool = False) -> None:
        assert key in self._running, self._with_story(f"{key} ended, but it does not run")
        self._admission.leave(self.tasks[key], self._running.pop(key), dead=dead)

    def _finish(self, key: str) -> None:
        self._done[key] = None
        self._remaining_work_s -= self.tasks[key].work_s
        for dependent in self._dependents.get(key, ()):
            if dependent not in self._waiting:
                continue
            self._waiting[dependent] -= 1
            if self._waiting[dependent] == 0:
                del self._waiting[dependent]
                self._make_ready(self.tasks[dependent])

    def _fail_or_retry(self, event: FitFailed) -> None:
        key = event.key
        tries = self._failed_tries[key] = self._failed_tries.get(key, 0) + 1
        allowed = {"crash": self.settings.max_tries, "oom": self.settings.oom_tries}.get(event.reason, 1)
        if not event.retryable or tries >= allowed:
            self._failed[key] = Failed(event.reason, tries)
            self._remaining_work_s -= self.tasks[key].work_s
            self._skip_dependents(key)
        elif self.stopping:
            # Signals reach the workers too: what would have been tried again was stopped, it did not fail.
            self._skip(key, Skipped("stopped"))
        else:
            self._make_ready(self.tasks[key])

    def _skip(self, key: str, why: Skipped) -> None:
        self._skipped[key] = why
        self._remaining_work_s -= self.tasks[key].work_s

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
        yield from map(AskStop, self._running)

    def _kill_overdue(self, at: float) -> Iterator[Kill]:
        # A look at each running fit: at most as many as there are cores and slots, however many wait.
        for key, run in self._running.items():
            deadline_s = self.tasks[key].deadline_s
            if deadline_s is not None and at - run.started_at > deadline_s and not run.kill_sent:
                self._running[key] = replace(run, kill_sent=True)
                yield Kill(key)

    def _admit(self, at: float) -> Iterator[Instruction]:
        self._admission.core_limit = self.core_limit
        while True:
            yield from map(ReleaseSlot, self._admission.release_slots())
            place = self._admission.next_place()
            if place is None:
                return
            task = place.task
            del self._ready[task.key]
            self._running[task.key] = Running(task.lane, task.engine, place.threads, place.slot, at)
            yield Start(task.key, task.lane, task.engine, place.threads, place.slot)

    def _with_story(self, what: str) -> str:
        lines = [f"  {event} -> {list(instructions)}" for event, instructions in self.story]
        return "\n".join([what, "the story so far, newest last:", *lines])
