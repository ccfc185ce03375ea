"""The same scheduler on a virtual clock: how long a plan takes, where each fit runs, and what holds it up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from itertools import count
from typing import Literal

from raytrain.schedule.policy import Policy
from raytrain.schedule.state import State
from raytrain.schedule.words import Capacity, FitFinished, Instruction, Lane, Settings, Start, Task

Durations = Callable[[Task, int], float]
"""Seconds that a task takes on so many threads."""
Bottleneck = Literal["cores", "slot", "memory", "longest fit", "chain"]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where and when a fit ran, in seconds from the start."""

    key: str
    lane: Lane
    slot: int | None
    threads: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a plan comes to."""

    makespan_s: float
    utilisation: float
    """Share of the core seconds, 0 to 1, in which a fit was using a core; a fit in the slot uses its host cores."""
    lower_bound_s: float
    """No schedule is faster."""
    bottleneck: Bottleneck
    """What the lower bound comes from."""
    timeline: list[Placed]
    """In order of their end."""


def predicted(task: Task, threads: int) -> float:
    """Seconds that a task takes if threads share its work evenly."""
    return task.work_s / threads


def simulate(
    tasks: Sequence[Task],
    capacity: Capacity,
    durations: Durations | None = None,
    *,
    policy: Policy | None = None,
    settings: Settings | None = None,
) -> Simulation:
    """Play a plan through to its end.

    Args:
        tasks: what is to be done; nothing fails.
        capacity: of the machine that is assumed.
        durations: seconds of a task on so many threads; as predicted, shared evenly, when left out.

    Raises:
        ScheduleError, CannotFit: as `State` refuses them.
    """
    durations = durations or predicted
    state = State(tasks, capacity, policy=policy, settings=settings)
    timeline = _play(state, durations)
    makespan_s = timeline[-1].end_s if timeline else 0.0
    bounds = lower_bounds(tasks, capacity, durations)
    bottleneck = max(bounds, key=bounds.__getitem__)
    return Simulation(
        makespan_s, _utilisation(timeline, capacity, makespan_s), bounds[bottleneck], bottleneck, timeline
    )


def _play(state: State, durations: Durations) -> list[Placed]:
    timeline: list[Placed] = []
    ends: list[tuple[float, int, Placed]] = []
    order = count()

    def follow(instructions: list[Instruction], now_s: float) -> None:
        for start in instructions:
            if isinstance(start, Start):
                end_s = now_s + durations(state.tasks[start.key], start.threads)
                placed = Placed(start.key, start.lane, start.slot, start.threads, now_s, end_s)
                heappush(ends, (end_s, next(order), placed))

    follow(state.start(0.0), 0.0)
    while ends:
        now_s, _, placed = heappop(ends)
        timeline.append(placed)
        follow(state.handle(_finished(placed)), now_s)
    return timeline


def _finished(placed: Placed) -> FitFinished:
    wall_s = placed.end_s - placed.start_s
    cpu_s = wall_s * placed.threads
    return FitFinished(at=placed.end_s, key=placed.key, wall_s=wall_s, cpu_s=cpu_s, peak_memory_bytes=0)


def _utilisation(timeline: Sequence[Placed], capacity: Capacity, makespan_s: float) -> float:
    if makespan_s == 0:
        return 0.0
    used_s = sum(
        (placed.end_s - placed.start_s) * (capacity.slot_host_cores if placed.lane == "slot" else placed.threads)
        for placed in timeline
    )
    return used_s / (capacity.cores * makespan_s)


def lower_bounds(
    tasks: Sequence[Task], capacity: Capacity, durations: Durations | None = None
) -> dict[Bottleneck, float]:
    """Seconds that each limit of the machine alone would force, with threads that never more than share the work.

    Returns:
        Seconds by what forces them; the largest is a bound on every schedule.
    """
    durations = durations or predicted
    work_s = {task.key: durations(task, 1) for task in tasks}
    shortest_s = {
        task.key: min(work_s[task.key], durations(task, min(task.max_threads, capacity.cores)))
        if task.lane == "cores"
        else work_s[task.key]
        for task in tasks
    }
    slot_s = sum(work_s[task.key] for task in tasks if task.lane == "slot")
    cores_s = sum(work_s[task.key] for task in tasks if task.lane == "cores")
    return {
        "cores": (cores_s + slot_s * capacity.slot_host_cores) / capacity.cores,
        "slot": slot_s / max(1, capacity.slots),
        "memory": sum(task.memory_bytes * shortest_s[task.key] for task in tasks) / capacity.memory_bytes,
        "longest fit": max(shortest_s.values(), default=0.0),
        "chain": _longest_chain_s(tasks, shortest_s),
    }


def _longest_chain_s(tasks: Sequence[Task], shortest_s: Mapping[str, float]) -> float:
    graph = {task.key: task.after for task in tasks if task.after}
    end_s: dict[str, float] = {}
    for key in TopologicalSorter(graph).static_order():
        end_s[key] = shortest_s[key] + max((end_s[before] for before in graph.get(key, ())), default=0.0)
    return max(end_s.values(), default=0.0)
