"""Machines of a cluster come and go while a run lasts."""

from collections.abc import Iterator, Sequence

import ray

from raytrain.cluster.nodes import Counted, Node, usable
from raytrain.schedule.words import CapacityChanged

_LOOK_EVERY_S = 2.0


class NodeWatch:
    """Notices that a machine was lost, or joined.

    While fewer than `least` are there, others are waited for: a cluster that scales itself replaces what it loses.

    Args:
        nodes: those that are known.
        counts: what the cluster counts.
        least: machines that the run must have.
        patience_s: seconds to wait for so many.
    """

    def __init__(self, nodes: Sequence[Node], counts: Counted, least: int, patience_s: float) -> None:
        self._nodes, self._counts = set(nodes), counts
        self._least, self._patience_s = least, patience_s
        self._next_look = 0.0
        self._few_since: float | None = None

    def look(self, now: float) -> Iterator[CapacityChanged]:
        """What changed, if it is time to look again."""
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY_S
        nodes = usable(ray.nodes(), self._counts)
        if len(nodes) >= self._least:
            self._few_since = None
        elif self._few_since is None:
            self._few_since = now
        waits = self._few_since is not None and now - self._few_since < self._patience_s
        if waits or set(nodes) == self._nodes:
            return
        self._nodes = set(nodes)
        yield CapacityChanged(
            at=now,
            cores=tuple(node.cores for node in nodes),
            slots=tuple(node.slots for node in nodes),
            memory_bytes=tuple(node.memory_bytes for node in nodes),
        )
