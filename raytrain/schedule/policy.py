"""Suggestions: in which order, in which engine, how wide. The state decides, within what the machine has."""

from collections.abc import Sequence
from dataclasses import dataclass

from raytrain.schedule.ready import Rank
from raytrain.schedule.words import Engine, Task


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
    multiprocessing timing anomalies), and with many short fits at the end far nearer.
    """

    def rank(self, task: Task) -> Rank:
        """Where a task stands in its queue; smaller starts first."""
        return (-task.priority, -task.work_s, task.group)

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
