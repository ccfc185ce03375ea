"""The same scheduler on a virtual clock: how long a plan takes, where each fit runs, and what holds it up."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from itertools import accumulate, count
from typing import Literal

from raytrain.schedule.checks import checked
from raytrain.schedule.nodes import Nodes, Seat, Starts, at_once
from raytrain.schedule.policy import Policy
from raytrain.schedule.state import State
from raytrain.schedule.words import (
    Capacity,
    FitFinished,
    Instruction,
    Lane,
    ReleaseSlot,
    Settings,
    Start,
    Task,
)

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
    """When it had its place; a new process comes first."""
    end_s: float
    node: int = 0


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
    nodes: int = 1,
    starts: Starts = at_once,
) -> Simulation:
    """Play a plan through to its end.

    Args:
        tasks: what is to be done; nothing fails.
        capacity: of the machine that is assumed.
        durations: seconds of a task on so many threads; as predicted, shared evenly, when left out.
        policy: the order; that of runs when left out.
        settings: how patient the scheduler is.
        nodes: how many such machines; a fit never spans two, and where it goes is the emptiest that has room.
        starts: seconds by which a new process of an engine makes its first fit late; nothing when left out.

    Raises:
        ScheduleError, CannotFit: as `State` refuses them; on several nodes a fit that needs more than one has.
    """
    whole = capacity
    if nodes > 1:
        one = checked(tasks, capacity)
        tasks = [replace(task, max_threads=min(task.max_threads, capacity.cores)) for task in one.values()]
        whole = times(capacity, nodes)
    state = State(tasks, whole, policy=policy, settings=settings)
    return _simulation(state, durations or predicted, Nodes(capacity, nodes, starts))


def simulate_in_turn(
    sets: Iterable[Sequence[Task]],
    capacity: Capacity,
    durations: Durations | None = None,
    *,
    settings: Settings | None = None,
    starts: Starts = at_once,
) -> Simulation:
    """Play sets of tasks through, each when the one before is done; processes are kept for the next set.

    The lower bound is what the sets force one by one, the bottleneck that of the set which takes longest.

    Args:
        sets: what is done one after another; nothing waits for a task of another set.
        capacity: of the machine.
        durations: seconds of a task on so many threads; as predicted, shared evenly, when left out.
        settings: how patient the scheduler is.
        starts: seconds by which a new process of an engine makes its first fit late; nothing when left out.

    Raises:
        ScheduleError, CannotFit: as `State` refuses them.
    """
    machine = Nodes(capacity, 1, starts)
    parts = [_simulation(State(tasks, capacity, settings=settings), durations or predicted, machine) for tasks in sets]
    begins = [0.0, *accumulate(part.makespan_s for part in parts)]
    whole_s = begins.pop()
    busy_s = sum(part.utilisation * part.makespan_s for part in parts)
    longest = max(parts, key=lambda part: part.makespan_s, default=None)
    return Simulation(
        makespan_s=whole_s,
        utilisation=busy_s / whole_s if whole_s else 0.0,
        lower_bound_s=sum(part.lower_bound_s for part in parts),
        bottleneck=longest.bottleneck if longest else "cores",
        timeline=[
            replace(placed, start_s=placed.start_s + begin_s, end_s=placed.end_s + begin_s)
            for part, begin_s in zip(parts, begins, strict=True)
            for placed in part.timeline
        ],
    )


def _simulation(state: State, durations: Durations, nodes: Nodes) -> Simulation:
    tasks, whole = list(state.tasks.values()), state.capacity
    timeline = _play(state, durations, nodes)
    makespan_s = timeline[-1].end_s if timeline else 0.0
    bounds = lower_bounds(tasks, whole, durations)
    bottleneck = max(bounds, key=bounds.__getitem__)
    return Simulation(makespan_s, _utilisation(timeline, whole, makespan_s), bounds[bottleneck], bottleneck, timeline)


def times(capacity: Capacity, nodes: int) -> Capacity:
    """Several equal machines as one."""
    return replace(
        capacity,
        cores=nodes * capacity.cores,
        slots=nodes * capacity.slots,
        memory_bytes=nodes * capacity.memory_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    start: Start
    seat: Seat
    start_s: float

    def placed(self, end_s: float) -> Placed:
        start = self.start
        return Placed(start.key, start.lane, start.slot, start.threads, self.start_s, end_s, self.seat.node)


def _play(state: State, durations: Durations, nodes: Nodes) -> list[Placed]:
    timeline: list[Placed] = []
    ends: list[tuple[float, int, _Run]] = []
    order = count()

    def follow(instructions: Sequence[Instruction], now_s: float) -> None:
        for instruction in instructions:
            if isinstance(instruction, Start):
                nodes.start(instruction, state.tasks[instruction.key])
            elif isinstance(instruction, ReleaseSlot):
                nodes.release(instruction.slot)
        for start, seat in nodes.seats():
            start_s = now_s + seat.late_s
            end_s = start_s + durations(state.tasks[start.key], start.threads)
            heappush(ends, (end_s, next(order), _Run(start, seat, start_s)))

    follow(state.start(0.0), 0.0)
    while ends:
        now_s, _, run = heappop(ends)
        nodes.end(run.start, state.tasks[run.start.key], run.seat.node)
        timeline.append(run.placed(now_s))
        follow(state.handle(_finished(run, now_s)), now_s)
    # What waits for a single machine cannot wait for ever: for one more wide fit than machines the state sees no cores.
    assert not state.num_unfinished, f"{state.num_unfinished} fits wait for room that no machine gets"
    return timeline


def _finished(run: _Run, end_s: float) -> FitFinished:
    wall_s = end_s - run.start_s
    cpu_s = wall_s * run.start.threads
    return FitFinished(at=end_s, key=run.start.key, wall_s=wall_s, cpu_s=cpu_s, peak_memory_bytes=0)


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
