"""Starts fits on Ray, waits for them and ends them, as it is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.nodes import kill_there
from raytrain.cluster.ray_cluster import Cluster
from raytrain.cluster.worker import Order, Outcome, Slot, execute
from raytrain.engines.process import engine_env
from raytrain.schedule.words import Start
from raytrain.work import inflight
from raytrain.work.plan import PlannedFit

POLL_S = 0.2

Execute = Callable[[Order], Outcome]


@dataclass(frozen=True)
class Call:
    """A fit that was given to Ray."""

    start: Start
    started_s: float
    """When, on the driver's clock."""


class Hands:
    """The fits in Ray, and the slots' processes.

    Args:
        cluster: where they run.
        config: what their processes are told.
        dataset: what they see.
        store: where their results go.
        work: what a process of the cores lane does with its order.
    """

    def __init__(
        self, cluster: Cluster, config: ClusterConfig, dataset: Path, store: Path, work: Execute = execute
    ) -> None:
        self._cluster, self._config = cluster, config
        self._work = ray.remote(work)  # once: each such call sends the function to the whole cluster
        self._dataset, self._store = dataset.absolute(), store.absolute()
        self.calls: dict[Any, Call] = {}
        """Ray's reference -> what was given."""
        self._slots: dict[int, Any] = {}

    def start(self, start: Start, fit: PlannedFit, memory_bytes: int, now: float) -> None:
        """Give a fit to Ray.

        Args:
            start: the order of the scheduler.
            fit: what it is about.
            memory_bytes: what Ray is asked for.
            now: on the driver's clock.
        """
        inflight.clear(self._store, start.key)
        order = Order(
            spec=fit.spec,
            engine=start.engine,
            threads=start.threads,
            dataset=self._dataset,
            store=self._store,
            prior=fit.prior,
        )
        options = self._options(start, fit, memory_bytes)
        if start.slot is None:
            call = self._work.options(**options, max_retries=0, name=fit.spec.label).remote(order)
        else:
            if start.slot not in self._slots:
                self._slots[start.slot] = self._hold(start, options)
            call = self._slots[start.slot].execute.options(name=fit.spec.label).remote(order)
        self.calls[call] = Call(start, now)

    def finished(self) -> list[Any]:
        """The calls that are over, after a moment when there are none."""
        if not self.calls:
            time.sleep(POLL_S)
            return []
        calls = list(self.calls)
        first, _ = ray.wait(calls, num_returns=1, timeout=POLL_S)
        return ray.wait(calls, num_returns=len(calls), timeout=0)[0] if first else []

    def kill(self, key: str) -> None:
        """End the process that works on a fit, wherever it is."""
        if inflight.kill(self._store, key) or kill_there(self._store, key):
            return
        # Not begun yet, or its node cannot be reached: Ray does what it can.
        reference, call = next((one, call) for one, call in self.calls.items() if call.start.key == key)
        if call.start.slot is None:
            ray.cancel(reference, force=True)
        else:
            ray.kill(self._slots[call.start.slot], no_restart=True)

    def release(self, slot: int) -> None:
        """End the process that holds a slot."""
        actor = self._slots.pop(slot, None)
        if actor is not None:
            ray.kill(actor, no_restart=True)

    def close(self) -> None:
        """Let every slot go."""
        for slot in list(self._slots):
            self.release(slot)

    def _hold(self, start: Start, options: dict[str, Any]) -> Any:
        name = f"slot {start.slot} {start.engine} {time.time_ns()}"
        return ray.remote(Slot).options(**options, name=name, max_concurrency=1, max_restarts=0).remote(start.engine)

    def _options(self, start: Start, fit: PlannedFit, memory_bytes: int) -> dict[str, Any]:
        claim = self._cluster.claim(start.threads, memory_bytes, slot=start.slot is not None)
        env = engine_env(start.engine, start.threads, fit.spec.device, self._config.keras_backend)
        return claim | {"runtime_env": {"env_vars": env}}
