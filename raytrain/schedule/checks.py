"""What is refused before anything runs."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from math import isfinite

from raytrain.errors import did_you_mean
from raytrain.schedule.words import CannotFit, Capacity, ScheduleError, Task


def checked(tasks: Iterable[Task], capacity: Capacity) -> dict[str, Task]:
    """The tasks by key, in their order.

    Raises:
        ScheduleError: a key twice, numbers without sense, a dependency that is unknown or goes round in a circle.
        CannotFit: a task that this machine could never run.
    """
    by_key: dict[str, Task] = {}
    for task in tasks:
        if task.key in by_key:
            raise ScheduleError(f"each task is planned once, got the key {task.key} ({task.label}) twice")
        _check_numbers(task)
        _check_fits(task, capacity)
        by_key[task.key] = task
    _check_dependencies(by_key)
    return by_key


def _check_numbers(task: Task) -> None:
    if not (isfinite(task.work_s) and task.work_s >= 0):
        raise ScheduleError(f"predicted work must be finite and at least 0 s, got {task.work_s} for {task.label}")
    if task.memory_bytes < 0:
        raise ScheduleError(f"predicted memory must be at least 0 bytes, got {task.memory_bytes} for {task.label}")
    if task.max_threads < 1:
        raise ScheduleError(f"`max_threads` must be at least 1, got {task.max_threads} for {task.label}")
    if task.deadline_s is not None and not task.deadline_s > 0:
        raise ScheduleError(f"a deadline must be above 0 s, got {task.deadline_s} for {task.label}")


def _check_fits(task: Task, capacity: Capacity) -> None:
    if task.memory_bytes > capacity.memory_bytes:
        raise CannotFit(
            f"{task.label} needs {_gib(task.memory_bytes)} of memory, the machine gives {_gib(capacity.memory_bytes)} "
            "to fits; make the fit smaller or use a larger machine"
        )
    if task.lane != "slot":
        return
    if capacity.slots == 0:
        raise CannotFit(f"{task.label} runs in the accelerator slot, the machine has 0 slots; give its profile one")
    if capacity.slot_host_cores > capacity.cores:
        raise CannotFit(
            f"{task.label} runs in the slot, which takes {capacity.slot_host_cores} cores for its host thread, "
            f"the machine has {capacity.cores}; lower `slot_host_cores`"
        )


def _check_dependencies(tasks: Mapping[str, Task]) -> None:
    graph = {task.key: task.after for task in tasks.values() if task.after}
    for key, after in graph.items():
        for wanted in after:
            if wanted not in tasks:
                raise ScheduleError(
                    f"{tasks[key].label} waits for `{wanted}`, which is not planned; {did_you_mean(wanted, tasks)}"
                )
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(tasks[key].label for key in reversed(error.args[1]))
        raise ScheduleError(f"no task may wait for itself, got {circle}; remove one `after`") from None


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
