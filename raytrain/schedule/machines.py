"""The machines behind a capacity, one by one: a fit never spans two, and after a loss some may fit on none."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from raytrain.schedule.words import Capacity, CapacityChanged, Running, Task


class Machines:
    """What each machine gives to fits; until it is told, all are taken for one that has everything.

    Args:
        slot_host_cores: cores that a held slot takes.
    """

    def __init__(self, slot_host_cores: int) -> None:
        self._host_cores = slot_host_cores
        self._each: list[tuple[int, int, int]] | None = None
        """Cores, slots and memory of each."""
        self._predicted_bytes: dict[str, int] = {}
        """Key -> the memory that is expected of a fit which asks for more, or for all there is."""

    def resize(self, now: CapacityChanged) -> Capacity:
        """Take in which machines there are; what they give together.

        Where nothing is left nothing is placed, and a capacity has a core.
        """
        self._each = list(zip(now.cores, now.slots, now.memory_bytes, strict=True))
        return Capacity(
            cores=max(1, sum(now.cores)),
            slots=sum(now.slots),
            memory_bytes=max(1, sum(now.memory_bytes)),
            slot_host_cores=self._host_cores,
        )

    def note_prediction(self, task: Task) -> None:
        """A task is about to ask for more memory than it is expected to take."""
        self._predicted_bytes.setdefault(task.key, task.memory_bytes)

    def holds(self, task: Task, threads: int) -> bool:
        """Whether one of them could hold a task on so many threads, were it empty."""
        if self._each is None:
            return True
        needed = self._host_cores if task.lane == "slot" else threads
        return any(cores >= needed for cores in self._offering(task))

    def housed(self, task: Task) -> Task | None:
        """The task no wider than a machine that can take it, asking for no more than there is; None when none can."""
        if self._each is None:
            return task
        if not self.holds(task, 1):
            return None
        widest = max(self._offering(task))
        return replace(
            task,
            max_threads=max(1, min(task.max_threads, widest)),
            memory_bytes=min(task.memory_bytes, sum(memory for _, _, memory in self._each)),
        )

    def homeless(self, running: Mapping[str, Running], tasks: Mapping[str, Task]) -> list[str]:
        """Running fits that wait in the cluster for a machine as it was, and none like it is left.

        What has begun runs somewhere, or dies with its machine.
        """
        waiting = (key for key, run in running.items() if run.began_at is None)
        return [key for key in waiting if not self.holds(tasks[key], running[key].threads)]

    def _offering(self, task: Task) -> Iterator[int]:
        """Cores of the machines that have the memory, and a slot when the task takes one."""
        wanted = self._predicted_bytes.get(task.key, task.memory_bytes)
        for cores, slots, memory_bytes in self._each or ():
            if memory_bytes >= wanted and (slots or task.lane != "slot"):
                yield cores
