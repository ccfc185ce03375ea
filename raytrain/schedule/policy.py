"""Suggestions: in which order, in which engine, how wide. The state decides, within what the machine has."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from math import frexp

from raytrain.schedule.ready import Rank
from raytrain.schedule.words import Engine, Task

_EARLY_SHARE = 0.1
"""Of all work: what is started early delays the end by no more than this."""
_HALF_STEP = 0.7071067811865476


@dataclass(frozen=True, slots=True)
class Offer:
    """An engine that has fits ready for the slot."""

    engine: Engine
    priority: int
    """Of its first fit."""
    work_s: float
    """Predicted seconds of all its ready fits."""
    num_slots: int
    """Slots that this engine holds already."""


class Policy:
    """Longest first, engines one after another, wide at the tail.

    Longest first keeps a schedule of independent fits within 4/3 of the best possible (Graham, 1969, Bounds on
    multiprocessing timing anomalies), and with many short fits at the end far nearer. A fit that others wait for counts
    as long as the longest chain that it begins.

    Args:
        tasks: all of the run, to know what waits for what; the order of dependencies does not matter without.
    """

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._chain_s = chains(tasks)

    def rank(self, task: Task) -> Rank:
        """Where a task stands in its queue; smaller starts first.

        Fits of about the same length, within a factor of 1.41, go group by group.
        """
        length_s = self._chain_s.get(task.key, task.work_s)
        return (-task.priority, -_half_octave(length_s), task.group, -length_s)

    def engine(self, offers: Sequence[Offer]) -> Engine:
        """The engine for a slot that nobody holds: the most important fit, then the most work for each slot.

        A slot that is held keeps its engine while fits of that engine are ready, because a change costs seconds.
        """
        best = max(offers, key=lambda offer: (offer.priority, offer.work_s / (1 + offer.num_slots)))
        return best.engine

    def threads(self, task: Task, free_cores: int, num_ready: int) -> int:
        """Threads for a task about to start, `num_ready` (itself included) waiting for `free_cores`.

        One thread each in bulk, where side by side is always faster than wide; the free cores shared out when there
        are more of them than fits.
        """
        return min(task.max_threads, max(1, free_cores // num_ready))


class FirstCome(Policy):
    """In the order of the plan; for comparison."""

    def rank(self, task: Task) -> Rank:
        """All alike: what became ready first starts first."""
        return (0, 0, "", 0)


class ShortestFirst(Policy):
    """The most fits done soon, and a long tail; for comparison."""

    def rank(self, task: Task) -> Rank:
        """By work, rising."""
        return (0, 0, "", task.work_s)


class Widest(Policy):
    """Every fit on as many threads as are free, as libraries do when nobody stops them; for comparison."""

    def threads(self, task: Task, free_cores: int, num_ready: int) -> int:
        """All that are free."""
        return min(task.max_threads, free_cores)


POLICIES: Mapping[str, type[Policy]] = {
    "longest first": Policy,
    "first come": FirstCome,
    "shortest first": ShortestFirst,
    "widest": Widest,
}
"""What a what-if compares; the first is the one that runs use."""


def _half_octave(length_s: float) -> int:
    """The step of a length on a scale of half powers of two; exact, so that equal lengths share a step everywhere."""
    fraction, power = frexp(length_s)
    return 2 * power + (fraction >= _HALF_STEP) if length_s > 0 else -3000


def chains(tasks: Iterable[Task]) -> dict[str, float]:
    """Seconds of the longest chain that a task begins, itself included, for the tasks that others wait for."""
    by_key = {task.key: task for task in tasks}
    graph = {task.key: task.after for task in by_key.values() if task.after}
    chain_s: dict[str, float] = {}
    for key in reversed(list(TopologicalSorter(graph).static_order())):
        mine_s = chain_s.get(key, 0.0) + by_key[key].work_s
        chain_s[key] = mine_s
        for before in by_key[key].after:
            chain_s[before] = max(chain_s.get(before, 0.0), mine_s)
    return chain_s


def decided_early(tasks: Sequence[Task], yardsticks: Collection[str]) -> list[Task]:
    """The tasks with priorities that let gates decide about the mixed forecast early.

    First the families that all others are measured against, then what others wait for and those that wait, when this
    is a small part of all work; else the longest chain goes first like everything else.

    Args:
        tasks: all of the run.
        yardsticks: names of the families.
    """
    mixed = {key for task in tasks for key in (*task.after, task.key) if task.after}
    whole_s = sum(task.work_s for task in tasks)
    cheap = sum(task.work_s for task in tasks if task.key in mixed) <= _EARLY_SHARE * whole_s
    return [
        replace(task, priority=2 if task.family in yardsticks else int(cheap and task.key in mixed)) for task in tasks
    ]
