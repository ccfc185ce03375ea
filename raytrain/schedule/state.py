"""The scheduler's state: an event in, instructions out.

A task is in exactly one place at any time:

    waiting --> ready <--> running --> done
       |          |           |------> failed
       +----------+-----------+------> skipped    (its dependency failed, or the run was stopped)

Slots are filled first, then cores. A held slot keeps its host cores until it is released, so tree fits fill exactly
the cores that are left; on a machine too small for both lanes at once they take turns. Everything is found through
heaps, so an event costs the same however many fits wait.
"""

from collections import deque
from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never, get_args

from raytrain.schedule import invariants
from raytrain.schedule.checks import checked
from raytrain.schedule.ledger import Ledger, Slot
from raytrain.schedule.policy import Offer, Policy
from raytrain.schedule.ready import ReadyQueue
from raytrain.schedule.words import (
    AskStop,
    Capacity,
    Engine,
    Event,
    Failed,
    Finished,
    FitFailed,
    FitFinished,
    FitStopped,
    Instruction,
    Kill,
    Lane,
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
        self.tasks: Mapping[str, Task] = MappingProxyType(checked(tasks, capacity))
        self.capacity = capacity
        self.policy = policy or Policy()
        self.settings = settings or Settings()
        self.thermal: ThermalLevel = "unknown"
        self.memory: MemoryLevel = "unknown"
        self.stopping = False
        self._ledger = Ledger(capacity)
        self._cores_queue = ReadyQueue()
        self._slot_queues: dict[Engine, ReadyQueue] = {engine: ReadyQueue() for engine in get_args(Engine)}
        self._queues = (self._cores_queue, *self._slot_queues.values())
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
        self._turn: Lane = "slot"
        self._turn_left = self.settings.turn_fits
        self._told_finished = False
        self._story: deque[tuple[Event, tuple[Instruction, ...]]] = deque(maxlen=_STORY_TAIL)
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
        if self.stopping or self.thermal == "stop" or self.memory in {"warn", "critical"}:
            return 0
        return max(1, self.capacity.cores // 2) if self.thermal == "shrink" else self.capacity.cores

    @property
    def free_cores(self) -> int:
        """Cores that a new fit may take now; 0 when more are held than the heat now allows."""
        return max(0, self.core_limit - self._ledger.held_cores)

    def start(self, at: float) -> list[Instruction]:
        """The first instructions; the same as a first `Tick`."""
        return self.handle(Tick(at=at))

    def handle(self, event: Event) -> list[Instruction]:
        """Take in what happened.

        Returns:
            What to do now, to be done in this order.

        Raises:
            AssertionError: the event cannot be true (a fit ended that does not run): a defect of the caller.
        """
        instructions = [*self._react(event), *self._admit(event.at)]
        if not self.num_unfinished and not self._told_finished:
            self._told_finished = True
            instructions.append(Finished())
        self._story.append((event, tuple(instructions)))
        return instructions

    def validate(self) -> None:
        """Check every invariant, slowly; for tests.

        Raises:
            AssertionError: an invariant is broken; the message ends with the latest events.
        """
        broken = list(invariants.broken(self))
        assert not broken, self._with_story("; ".join(broken))

    def _add(self, task: Task) -> None:
        self._remaining_work_s += task.work_s
        for key in task.after:
            self._dependents.setdefault(key, []).append(task.key)
        if task.after:
            self._waiting[task.key] = len(task.after)
        else:
            self._make_ready(task)

    def _queue_of(self, task: Task) -> ReadyQueue:
        return self._slot_queues[task.engine] if task.lane == "slot" else self._cores_queue

    def _make_ready(self, task: Task) -> None:
        self._ready[task.key] = None
        self._queue_of(task).push(task, self.policy.rank(task))

    def _react(self, event: Event) -> Iterator[Instruction]:
        match event:
            case FitFinished(key=key):
                self._end(key)
                self._finish(key)
            case FitFailed():
                self._end(event.key, dead=event.reason != "error")
                self._fail_or_retry(event)
            case FitStopped(key=key):
                assert self.stopping, self._with_story(f"{key} stopped, but nobody asked it to")
                self._end(key)
                self._skip(key, Skipped("stopped"))
            case ThermalChanged(level=thermal):
                self.thermal = thermal
            case MemoryChanged(level=memory):
                self.memory = memory
            case StopRequested():
                yield from self._stop()
            case Tick(at=at):
                yield from self._kill_overdue(at)
            case _:
                assert_never(event)

    def _end(self, key: str, *, dead: bool = False) -> None:
        """Take a fit out of `running` and give back what it held; `dead` when its process went with it."""
        assert key in self._running, self._with_story(f"{key} ended, but it does not run")
        run = self._running.pop(key)
        cores = run.threads if run.slot is None else 0
        self._ledger.give_back(cores, self.tasks[key].memory_bytes)
        if run.slot is not None:
            self._ledger.vacate_slot(self._ledger.slots[run.slot], dead=dead)

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

    def _stop(self) -> Iterator[Instruction]:
        if self.stopping:
            return
        self.stopping = True
        for key in (*self._waiting, *self._ready):
            self._skip(key, Skipped("stopped"))
        self._waiting.clear()
        self._ready.clear()
        for queue in self._queues:
            queue.clear()
        yield from map(AskStop, self._running)

    def _kill_overdue(self, at: float) -> Iterator[Instruction]:
        # A look at each running fit: as many as there are cores, however many wait.
        for key, run in self._running.items():
            deadline_s = self.tasks[key].deadline_s
            if deadline_s is not None and at - run.started_at > deadline_s and not run.kill_sent:
                self._running[key] = replace(run, kill_sent=True)
                yield Kill(key)

    def _admit(self, at: float) -> Iterator[Instruction]:
        while True:
            yield from self._release_slots()
            chosen = self._next_for_slot() or self._next_for_cores()
            if chosen is None:
                return
            yield self._start(at, *chosen)

    def _start(self, at: float, task: Task, threads: int, slot: Slot | None) -> Start:
        queue = self._queue_of(task)
        self._count_passed(queue, is_first=queue.first() is task)
        self._count_turn(task.lane)
        queue.pop(task)
        del self._ready[task.key]
        self._ledger.take(0 if slot else threads, task.memory_bytes)
        if slot:
            self._ledger.occupy_slot(slot, task.key)
        number = slot.number if slot else None
        self._running[task.key] = Running(task.lane, task.engine, threads, number, at)
        return Start(task.key, task.lane, task.engine, threads, number)

    def _count_passed(self, started: ReadyQueue, *, is_first: bool) -> None:
        if is_first:
            started.blocked, started.passed = False, 0
        for queue in self._queues:
            queue.passed += queue.blocked

    def _count_turn(self, lane: Lane) -> None:
        if lane == self._turn:
            self._turn_left -= 1
        if self._turn_left <= 0:
            self._turn = "cores" if lane == "slot" else "slot"
            self._turn_left = self.settings.turn_fits

    def _next_for_cores(self) -> tuple[Task, int, None] | None:
        free = self.free_cores
        if not free:
            return None
        task = self._fitting(self._cores_queue)
        if task is None:
            return None
        wanted = self.policy.threads(task, free, len(self._cores_queue))
        return task, max(1, min(wanted, task.max_threads, free)), None

    def _next_for_slot(self) -> tuple[Task, int, Slot] | None:
        for slot in self._ledger.idle.values():
            assert slot.engine is not None
            if task := self._fitting(self._slot_queues[slot.engine]):
                return task, 1, slot
        engine = self._engine_to_hold()
        if engine is None:
            return None
        task = self._fitting(self._slot_queues[engine])
        return (task, 1, self._ledger.hold_slot(engine)) if task else None

    def _engine_to_hold(self) -> Engine | None:
        """The engine for one more slot; None when no slot may be held now."""
        if self._ledger.num_held_slots >= self._num_slots_allowed():
            return None
        offers = self._offers()
        if not offers:
            return None
        engine = self.policy.engine(offers)
        if self.free_cores < self.capacity.slot_host_cores:
            self._slot_queues[engine].blocked = self.free_cores > 0
            return None
        return engine

    def _offers(self) -> list[Offer]:
        urgent = self._urgent()
        held = [slot.engine for slot in self._ledger.slots]
        return [
            Offer(engine, first.priority, queue.work_s, held.count(engine))
            for engine, queue in self._slot_queues.items()
            if (first := queue.first()) and urgent in {None, queue}
        ]

    def _fitting(self, queue: ReadyQueue) -> Task | None:
        """The best fit of a queue that may start beside what runs; None when all must wait."""
        if not self.core_limit or not queue:
            return None
        urgent = self._urgent()
        if urgent not in {None, queue}:
            return None
        first = queue.first()
        task = queue.first(self._ledger.free_memory_bytes)
        queue.blocked = task is not first
        return task if urgent is None or task is first else None

    def _urgent(self) -> ReadyQueue | None:
        """The queue whose first fit was passed too often: until it starts, nothing else does."""
        slot_possible = self.core_limit >= self.capacity.slot_host_cores
        for queue in self._queues:
            if queue.passed >= self.settings.max_passed and (queue is self._cores_queue or slot_possible):
                return queue
        return None

    def _num_slots_allowed(self) -> int:
        """Slots that may be held now, so that ready fits of the other lane find a core."""
        limit, host_cores, slots = self.core_limit, self.capacity.slot_host_cores, self.capacity.slots
        if not limit:
            return 0
        most = min(slots, limit // host_cores) if host_cores else slots
        urgent = self._urgent()
        if urgent is self._cores_queue:
            return 0
        if urgent is not None or not self._cores_queue or not most:
            return most
        beside_cores = min(slots, (limit - 1) // host_cores) if host_cores else slots
        return beside_cores or int(self._turn == "slot")

    def _release_slots(self) -> Iterator[Instruction]:
        for slot in list(self._ledger.idle.values()):
            if not self._keeps(slot):
                self._ledger.release_slot(slot)
                yield ReleaseSlot(slot.number)

    def _keeps(self, slot: Slot) -> bool:
        """Whether an idle slot's process is worth its host cores."""
        assert slot.engine is not None
        queue = self._slot_queues[slot.engine]
        if slot.dead or slot.fits >= self.settings.recycle_after or not queue:
            return False
        return self._urgent() in {None, queue} and self._ledger.num_held_slots <= self._num_slots_allowed()

    def _with_story(self, what: str) -> str:
        lines = [f"  {event} -> {list(instructions)}" for event, instructions in self._story]
        return "\n".join([what, "the story so far, newest last:", *lines])
