"""Which ready fit starts next, and where: the slot first, then the cores, nothing oversubscribed and nobody starved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from raytrain.schedule.ledger import Ledger, Slot
from raytrain.schedule.policy import Offer, Policy
from raytrain.schedule.ready import ReadyQueue
from raytrain.schedule.words import Capacity, Engine, Lane, Running, Settings, Task


@dataclass(frozen=True, slots=True)
class Place:
    """Room that was found, and booked, for a fit."""

    task: Task
    threads: int
    slot: int | None


class Admission:
    """The ready fits, the accounts, and who may start.

    A held slot keeps its host cores until it is released, so the other lane fills exactly the cores that are left.
    On a machine too small for both lanes at once they take turns. A fit that waits for memory may be passed by
    smaller ones `settings.max_passed` times; then it is urgent, and nothing else starts until it fits.
    """

    def __init__(self, capacity: Capacity, policy: Policy, settings: Settings) -> None:
        self.capacity = capacity
        self.policy = policy
        self.settings = settings
        self.ledger = Ledger(capacity)
        self.core_limit = capacity.cores
        """Cores that may be held before nothing new is admitted; 0 admits nothing and lets idle slots go."""
        self.cores_queue = ReadyQueue()
        self.slot_queues: dict[Engine, ReadyQueue] = {engine: ReadyQueue() for engine in get_args(Engine)}
        self.queues = (self.cores_queue, *self.slot_queues.values())
        self._turn: Lane = "slot"
        self._turn_left = settings.turn_fits

    @property
    def free_cores(self) -> int:
        """Cores that a new fit may take now; 0 when more are held than the limit."""
        return max(0, self.core_limit - self.ledger.held_cores)

    def add(self, task: Task) -> None:
        """Let a task wait for room."""
        self.queue_of(task).push(task, self.policy.rank(task))

    def resize(self, capacity: Capacity) -> None:
        """There is more or less than before."""
        self.capacity = capacity
        self.ledger.resize(capacity)

    def clear(self) -> None:
        """Forget all that waits for room."""
        for queue in self.queues:
            queue.clear()

    def queue_of(self, task: Task) -> ReadyQueue:
        """Where a task waits."""
        return self.slot_queues[task.engine] if task.lane == "slot" else self.cores_queue

    def leave(self, task: Task, run: Running, *, dead: bool) -> None:
        """Take back what a fit held; `dead` when its process went with it."""
        if run.slot is None:
            self.ledger.give_back(run.threads, task.memory_bytes)
        else:
            self.ledger.give_back(0, task.memory_bytes)
            self.ledger.vacate_slot(self.ledger.slots[run.slot], dead=dead)

    def release_slots(self) -> Iterator[int]:
        """Let go of idle slots whose process is not worth its host cores, and say which."""
        for slot in list(self.ledger.idle.values()):
            if not self._keeps(slot):
                self.ledger.release_slot(slot)
                yield slot.number

    def needs_idle_memory(self) -> bool:
        """Whether a fit could start now if the idle processes were ended, and cannot otherwise."""
        ledger, urgent = self.ledger, self._urgent()
        if not ledger.idle_memory_bytes or not self.core_limit:
            return False
        room = ledger.free_memory_bytes + ledger.idle_memory_bytes
        for queue in self._open_queues() if urgent is None else (urgent,):
            task = queue.first(room) if urgent is None else queue.first()
            if task and ledger.free_memory_bytes < task.memory_bytes <= room:
                return True
        return False

    def _open_queues(self) -> Iterator[ReadyQueue]:
        """Where a fit might find a core or a slot now."""
        if self.free_cores:
            yield self.cores_queue
        if self.ledger.idle or self.ledger.num_held_slots < self._num_slots_allowed():
            yield from self.slot_queues.values()

    def next_place(self) -> Place | None:
        """Take the next fit out of its queue and book its room; None when nothing may start now."""
        return self._place_in_slot() or self._place_on_cores()

    def _place_on_cores(self) -> Place | None:
        free = self.free_cores
        task = self._fitting(self.cores_queue) if free else None
        if task is None:
            return None
        wanted = self.policy.threads(task, free, len(self.cores_queue))
        threads = max(1, min(wanted, task.max_threads, free))
        self._leave_queue(task)
        self.ledger.take(threads, task.memory_bytes)
        return Place(task, threads, None)

    def _place_in_slot(self) -> Place | None:
        if not any(self.slot_queues.values()):
            return None
        may_hold = self.ledger.num_held_slots < self._num_slots_allowed()
        if not may_hold:
            # Waiting for a busy slot is not being passed; what waits for memory beside an idle one is found below.
            for queue in self.slot_queues.values():
                queue.blocked = False
        found = self._for_idle_slot() or (self._for_new_slot() if may_hold else None)
        if found is None:
            return None
        task, slot = found
        self._leave_queue(task)
        self.ledger.take(0, task.memory_bytes)
        self.ledger.occupy_slot(slot, task.key)
        return Place(task, 1, slot.number)

    def _for_idle_slot(self) -> tuple[Task, Slot] | None:
        for slot in self.ledger.idle.values():
            assert slot.engine is not None
            if task := self._fitting(self.slot_queues[slot.engine]):
                return task, slot
        return None

    def _for_new_slot(self) -> tuple[Task, Slot] | None:
        offers = self._offers()
        if not offers:
            return None
        engine = self.policy.engine(offers)
        queue = self.slot_queues[engine]
        if self.free_cores < self.capacity.slot_host_cores:
            queue.blocked = self.free_cores > 0
            return None
        task = self._fitting(queue)
        return (task, self.ledger.hold_slot(engine)) if task else None

    def _offers(self) -> list[Offer]:
        urgent = self._urgent()
        held = [slot.engine for slot in self.ledger.slots]
        return [
            Offer(engine, first.priority, queue.work_s, held.count(engine))
            for engine, queue in self.slot_queues.items()
            if (first := queue.first()) and (urgent is None or urgent is queue)
        ]

    def _fitting(self, queue: ReadyQueue) -> Task | None:
        """The best fit of a queue that has room in memory; None when all must wait."""
        urgent = self._urgent()
        if not self.core_limit or not queue or not (urgent is None or urgent is queue):
            return None
        first = queue.first()
        task = queue.first(self.ledger.free_memory_bytes)
        queue.blocked = task is not first
        return task if urgent is None or task is first else None

    def _leave_queue(self, task: Task) -> None:
        left = self.queue_of(task)
        if left.first() is task:
            left.blocked, left.passed = False, 0
        left.pop(task)
        for queue in self.queues:
            queue.passed += queue.blocked
        if task.lane == self._turn:
            self._turn_left -= 1
        if self._turn_left <= 0:
            self._turn = "cores" if self._turn == "slot" else "slot"
            self._turn_left = self.settings.turn_fits

    def _urgent(self) -> ReadyQueue | None:
        """The queue whose first fit was passed too often."""
        slot_possible = self.core_limit >= self.capacity.slot_host_cores
        for queue in self.queues:
            if queue.passed >= self.settings.max_passed and (queue is self.cores_queue or slot_possible):
                return queue
        return None

    def _num_slots_allowed(self) -> int:
        """Slots that may be held now, so that ready fits of the other lane find a core."""
        if not self.core_limit:
            return 0
        most = self._num_slots_beside(0)
        if self._urgent() is not None or not most or not self.cores_queue:
            return most
        return self._num_slots_beside(1) or int(self._turn == "slot")

    def _num_slots_beside(self, cores: int) -> int:
        host_cores = self.capacity.slot_host_cores
        return min(self.capacity.slots, (self.core_limit - cores) // host_cores) if host_cores else self.capacity.slots

    def _keeps(self, slot: Slot) -> bool:
        assert slot.engine is not None
        queue = self.slot_queues[slot.engine]
        if slot.dead or slot.fits >= self.settings.recycle_after or not queue:
            return False
        urgent = self._urgent()
        wanted = urgent is None or urgent is queue
        return wanted and self.ledger.num_held_slots <= self._num_slots_allowed()
