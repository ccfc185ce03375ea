"""Several equal machines as a cluster fills them: a fit never spans two, and a new process takes its time to start.

The state decides for all machines as one. Where a fit goes is the cluster's decision; here as Ray decides once every
machine is half full: to the emptiest that has room. A fit for which no single machine has room waits in the cluster.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raytrain.schedule.words import Capacity, Start, Task

Starts = Callable[[str], float]
"""Seconds by which the first fit of a new process of an engine is late."""
_Kind = tuple[str, int]
"""Engine and threads: fits of one kind share processes."""


def at_once(engine: str) -> float:
    """A process that is there when it is wanted."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a fit found room."""

    node: int
    late_s: float
    """Until its process is ready."""


class _Node:
    """One machine."""

    def __init__(self, capacity: Capacity) -> None:
        self.most_processes = capacity.cores
        self.free_cores = capacity.cores
        self.free_memory_bytes = capacity.memory_bytes
        self.free_slots = capacity.slots
        self.idle: Counter[_Kind] = Counter()
        self.num_busy = 0

    def has_room(self, cores: int, memory_bytes: int, slots: int) -> bool:
        return cores <= self.free_cores and memory_bytes <= self.free_memory_bytes and slots <= self.free_slots

    def take(self, cores: int, memory_bytes: int, slots: int) -> None:
        self.free_cores -= cores
        self.free_memory_bytes -= memory_bytes
        self.free_slots -= slots

    def find_process(self, kind: _Kind) -> bool:
        """Take an idle process, or a new one, for which one of another kind goes when there are enough."""
        self.num_busy += 1
        if self.idle[kind]:
            self.idle[kind] -= 1
            return True
        if self.num_busy + self.idle.total() > self.most_processes:
            other = next((one for one, number in self.idle.items() if number), None)
            if other is not None:
                self.idle[other] -= 1
        return False

    def leave_process(self, kind: _Kind) -> None:
        self.num_busy -= 1
        self.idle[kind] += 1


class Nodes:
    """The machines of a cluster and what waits for room on one of them."""

    def __init__(self, capacity: Capacity, number: int, starts: Starts) -> None:
        self._capacity = capacity
        self._starts = starts
        self._nodes = [_Node(capacity) for _ in range(number)]
        self._holders: dict[int, int] = {}
        """Slot, as the state numbers them -> its node."""
        self._waiting: list[tuple[Start, Task]] = []

    def start(self, start: Start, task: Task) -> None:
        """Let a fit wait for its seat; `seats` gives it."""
        self._waiting.append((start, task))

    def seats(self) -> Iterable[tuple[Start, Seat]]:
        """The seats of all that find room now, in the order in which they were asked for."""
        waiting, self._waiting = self._waiting, []
        for start, task in waiting:
            seat = self._seat(start, task)
            if seat is None:
                self._waiting.append((start, task))
            else:
                yield start, seat

    def end(self, start: Start, task: Task, node: int) -> None:
        """A fit left its seat."""
        if start.slot is None:
            self._nodes[node].take(-start.threads, -task.memory_bytes, 0)
            self._nodes[node].leave_process((start.engine, start.threads))
        else:
            self._nodes[node].take(0, -task.memory_bytes, 0)

    def release(self, slot: int) -> None:
        """The process that held a slot ended."""
        node = self._holders.pop(slot)
        self._nodes[node].take(-self._capacity.slot_host_cores, 0, -1)

    def _seat(self, start: Start, task: Task) -> Seat | None:
        if start.slot is None:
            node = self._emptiest(start.threads, task.memory_bytes, 0)
            if node is None:
                return None
            self._nodes[node].take(start.threads, task.memory_bytes, 0)
            ready = self._nodes[node].find_process((start.engine, start.threads))
            return Seat(node, 0.0 if ready else self._starts(start.engine))
        return self._seat_in_slot(start.slot, start, task)

    def _seat_in_slot(self, slot: int, start: Start, task: Task) -> Seat | None:
        held = slot in self._holders
        if held:
            node: int | None = self._holders[slot]
            if not self._nodes[self._holders[slot]].has_room(0, task.memory_bytes, 0):
                return None
        else:
            node = self._emptiest(self._capacity.slot_host_cores, task.memory_bytes, 1)
        if node is None:
            return None
        if not held:
            self._holders[slot] = node
            self._nodes[node].take(self._capacity.slot_host_cores, 0, 1)
        self._nodes[node].take(0, task.memory_bytes, 0)
        return Seat(node, 0.0 if held else self._starts(start.engine))

    def _emptiest(self, cores: int, memory_bytes: int, slots: int) -> int | None:
        room = (number for number, node in enumerate(self._nodes) if node.has_room(cores, memory_bytes, slots))
        return max(room, key=lambda number: (self._nodes[number].free_cores, -number), default=None)
