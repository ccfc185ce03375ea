"""The fits that could start now, in the order of the policy, found by what fits into the free memory."""

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from raytrain.schedule.words import Task

Rank = tuple[float, float, str, float]
"""Smaller starts first."""


class ReadyQueue:
    """A priority queue that can be asked for its best fit of at most so many bytes.

    There is one heap per power of two of memory, so an answer looks at a few dozen heap tops at most, however many
    fits wait. The price: behind a heap's top, a fit up to half its size is not seen.
    """

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[Rank, int, Task]]] = {}
        self._arrivals = count()
        self._size = 0
        self.work_s = 0.0
        """Predicted seconds of all that waits here."""
        self.blocked = False
        """The first fit did not fit when it was last tried."""
        self.passed = 0
        """Starts that went past the blocked first fit."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Task]:
        """All tasks, in no particular order."""
        return (task for heap in self._heaps.values() for _, _, task in heap)

    def push(self, task: Task, rank: Rank) -> None:
        """Add a task; of equal ranks the one that came first goes first."""
        heap = self._heaps.setdefault(task.memory_bytes.bit_length(), [])
        heappush(heap, (rank, next(self._arrivals), task))
        self._size += 1
        self.work_s += task.work_s

    def first(self, memory_bytes: float = float("inf")) -> Task | None:
        """The best task that needs at most `memory_bytes`; None when there is none."""
        tops = (heap[0] for heap in self._heaps.values() if heap and heap[0][2].memory_bytes <= memory_bytes)
        best = min(tops, default=None)
        return best[2] if best else None

    def pop(self, task: Task) -> None:
        """Remove a task that `first` gave."""
        _, _, popped = heappop(self._heaps[task.memory_bytes.bit_length()])
        assert popped is task, f"{task.key} is not at the top of its heap"
        self._size -= 1
        # Sums of floats drift; an empty queue is a chance to begin anew.
        self.work_s = self.work_s - task.work_s if self._size else 0.0

    def clear(self) -> None:
        """Forget everything that waits."""
        self._heaps.clear()
        self._size, self.work_s = 0, 0.0
        self.blocked, self.passed = False, 0
