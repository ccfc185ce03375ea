"""Carry out on Ray what the scheduler says, and tell it what happened. Decides nothing."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import ray
from ray import exceptions

from raytrain.cluster import endings
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.endings import Ending
from raytrain.cluster.ray_cluster import Cluster
from raytrain.cluster.senses import Senses
from raytrain.cluster.worker import Failure, Order, Outcome, Slot, execute
from raytrain.engines.process import engine_env
from raytrain.errors import RaytrainError
from raytrain.machine.sensors import Heat
from raytrain.schedule import story
from raytrain.schedule.state import State
from raytrain.schedule.words import (
    AskStop,
    Capacity,
    Event,
    Finished,
    Instruction,
    Kill,
    MemoryChanged,
    ReleaseSlot,
    Settings,
    Skipped,
    Start,
    StopRequested,
    Task,
    ThermalChanged,
    Tick,
)
from raytrain.work import inflight
from raytrain.work.plan import PlannedFit
from raytrain.work.spec import FitSpec

POLL_S = 0.2
TICK_EVERY_S = 0.5
STOP_GRACE_S = 5.0
"""After a stop was asked for, running fits have this long to reach a safe point; then their processes are killed."""


class ClusterLost(RaytrainError):
    """Ray itself went away. Finished fits are on disk; the same command goes on from there."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One fit that was started in this run, for the timeline."""

    key: str
    lane: str
    threads: int
    outcome: Outcome | None
    """None when the process died."""
    status: str
    """ok, failed, timeout, oom or stopped."""
    started_s: float
    """Seconds since the driver began."""
    ended_s: float


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is going on, for a person who watches."""

    total: int
    done: int
    failed: int
    running: tuple[tuple[str, str, float], ...]
    """(label, lane, seconds so far)"""
    eta_s: float | None
    heat: Heat
    held_back_by: str
    """`heat` or `memory` while nothing new is started because of it; empty otherwise."""


@dataclass
class Report:
    """What a driver leaves behind."""

    ran: list[Ran] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    """Fits given up, by key."""
    skipped: dict[str, Skipped] = field(default_factory=dict)
    """Fits not run, by key, with the reason."""
    stopped: bool = False
    wall_s: float = 0.0


@dataclass(frozen=True)
class _Call:
    instruction: Start
    started_s: float


@dataclass
class Driver:
    """Runs one set of fits to the end."""

    cluster: Cluster
    config: ClusterConfig
    fits: Mapping[str, PlannedFit]
    tasks: Sequence[Task]
    dataset: Path
    store: Path
    story: TextIO
    """Takes what happened and what was decided, line by line; `raytrain.schedule.story` reads it."""
    senses: Senses
    watch: Callable[[Status], None]
    stop_requested: Callable[[], bool]

    def __post_init__(self) -> None:
        self._report = Report()
        self._calls: dict[Any, _Call] = {}
        self._slots: dict[int, Any] = {}
        self._killed: set[str] = set()
        self._failures: dict[str, Failure] = {}
        self._heat_level, self._pressure = "unknown", "unknown"
        self._next_tick = 0.0
        self._stop_asked_at: float | None = None
        self._predicted_done_s = self._measured_done_s = 0.0

    def run(self) -> Report:
        """Run until every fit has its final state.

        Raises:
            ClusterLost: Ray went away.
        """
        self._began = time.monotonic()
        settings = Settings(max_tries=self.config.max_tries, recycle_after=self.config.recycle_after)
        self._state = State(self.tasks, capacity_of(self.cluster), settings=settings)
        self._by_key = {task.key: task for task in self.tasks}
        self._left_s = {"cores": 0.0, "slot": 0.0}
        for task in self.tasks:
            self._left_s[task.lane] += task.work_s
        self.story.writelines(story.opening(self._state))
        instructions = self._decide(Tick(at=self._now()))
        try:
            while not self._carry_out(instructions):
                instructions = [order for event in self._events() for order in self._decide(event)]
                self._tell()
        except (exceptions.RaySystemError, exceptions.LocalRayletDiedError) as error:
            raise ClusterLost(f"Ray went away: {error}; run the same command again to go on") from error
        finally:
            for slot in list(self._slots):
                self._release(slot)
        self._conclude()
        return self._report

    def _decide(self, event: Event) -> list[Instruction]:
        instructions = self._state.handle(event)
        if instructions or not isinstance(event, Tick):
            self.story.write(story.entry(event, instructions))
            self.story.flush()
        return instructions

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _carry_out(self, instructions: Sequence[Instruction]) -> bool:
        for instruction in instructions:
            match instruction:
                case Start():
                    self._start(instruction)
                case AskStop(key):
                    inflight.ask_stop(self.store, key)
                case Kill(key):
                    self._kill(key)
                case ReleaseSlot(slot):
                    self._release(slot)
                case Finished():
                    return True
        return False

    def _start(self, start: Start) -> None:
        fit = self.fits[start.key]
        order = Order(
            spec=fit.spec,
            engine=start.engine,
            threads=start.threads,
            dataset=self.dataset.absolute(),
            store=self.store.absolute(),
            prior=fit.prior,
        )
        if start.slot is None:
            options = self._options(start, fit.spec.device) | {"max_retries": 0, "name": fit.spec.label}
            call = ray.remote(execute).options(**options).remote(order)
        else:
            if start.slot not in self._slots:
                self._slots[start.slot] = self._hold(start, fit.spec.device)
            call = self._slots[start.slot].execute.options(name=fit.spec.label).remote(order)
        self._calls[call] = _Call(start, self._now())

    def _hold(self, start: Start, device: str) -> Any:
        options = self._options(start, device) | {"max_concurrency": 1, "max_restarts": 0}
        return (
            ray.remote(Slot)
            .options(name=f"slot {start.slot} {start.engine} {time.time_ns()}", **options)
            .remote(start.engine)
        )

    def _options(self, start: Start, device: Any) -> dict[str, Any]:
        task = self._by_key[start.key]
        claim = self.cluster.claim(start.threads, task.memory_bytes, slot=start.slot is not None)
        env = engine_env(start.engine, start.threads, device, self.config.keras_backend)
        return claim | {"runtime_env": {"env_vars": env}}

    def _release(self, slot: int) -> None:
        actor = self._slots.pop(slot, None)
        if actor is not None:
            ray.kill(actor, no_restart=True)

    def _kill(self, key: str) -> None:
        self._killed.add(key)
        if not inflight.kill(self.store, key):
            # Not on this host, or not begun yet: Ray ends the process where it is.
            call = next(call for call, made in self._calls.items() if made.instruction.key == key)
            slot = self._calls[call].instruction.slot
            if slot is None:
                ray.cancel(call, force=True)
            else:
                ray.kill(self._slots[slot], no_restart=True)

    def _events(self) -> list[Event]:
        events: list[Event] = [self._ended(call) for call in self._finished_calls()]
        now = self._now()
        if now >= self._next_tick:
            self._next_tick = now + TICK_EVERY_S
            events.append(Tick(at=now))
        events += self._sense(now)
        if self.stop_requested():
            events += self._stop(now)
        return events

    def _finished_calls(self) -> list[Any]:
        if not self._calls:
            time.sleep(POLL_S)
            return []
        calls = list(self._calls)
        first, _ = ray.wait(calls, num_returns=1, timeout=POLL_S)
        return ray.wait(calls, num_returns=len(calls), timeout=0)[0] if first else []

    def _sense(self, now: float) -> list[Event]:
        events: list[Event] = []
        heat, pressure = self.senses.heat.level, self.senses.pressure
        if heat != self._heat_level:
            events.append(ThermalChanged(at=now, level=heat))
        if pressure != self._pressure:
            events.append(MemoryChanged(at=now, level=pressure))
        self._heat_level, self._pressure = heat, pressure
        return events

    def _stop(self, now: float) -> list[Event]:
        if self._stop_asked_at is None:
            self._stop_asked_at = now
            self._report.stopped = True
            return [StopRequested(at=now)]
        if now - self._stop_asked_at > STOP_GRACE_S:
            for made in list(self._calls.values()):
                if made.instruction.key not in self._killed:
                    self._kill(made.instruction.key)
        return []

    def _ended(self, call: Any) -> Event:
        made = self._calls.pop(call)
        key = made.instruction.key
        ending = self._ending(call, self.fits[key].spec)
        if ending.failure is not None:
            self._failures[key] = ending.failure
        if ending.status == "ok" and ending.outcome is not None and ending.outcome.cost is not None:
            task = self._by_key[key]
            self._predicted_done_s += task.work_s
            self._measured_done_s += ending.outcome.cost["cpu_s"]
            self._left_s[task.lane] -= task.work_s
        ran = Ran(
            key=key,
            lane=made.instruction.lane,
            threads=made.instruction.threads,
            outcome=ending.outcome,
            status=ending.status,
            started_s=made.started_s,
            ended_s=ending.event.at,
        )
        self._report.ran.append(ran)
        return ending.event

    def _ending(self, call: Any, spec: FitSpec) -> Ending:
        now = self._now()
        try:
            return endings.told(ray.get(call), now)
        except (exceptions.RaySystemError, exceptions.LocalRayletDiedError):
            raise
        except exceptions.RayError as error:
            if spec.key not in self._killed:
                return endings.raised(spec, error, now)
            if self._stop_asked_at is not None:
                return endings.killed_for_stop(spec, now)
            return endings.killed_for_time(spec, self._by_key[spec.key].deadline_s, now)

    def _tell(self) -> None:
        now = self._now()
        running = tuple(
            (self.fits[made.instruction.key].spec.label, made.instruction.lane, now - made.started_s)
            for made in self._calls.values()
        )
        state = self._state
        self.watch(
            Status(
                total=len(self.tasks),
                done=len(state.done),
                failed=len(state.failed),
                running=running,
                eta_s=self._eta_s(),
                heat=self.senses.heat,
                held_back_by=self._held_back_by(),
            )
        )

    def _held_back_by(self) -> str:
        if self._state.core_limit or self._state.stopping:
            return ""
        return "heat" if self._state.thermal == "stop" else "memory"

    def _eta_s(self) -> float | None:
        """The longer of the two lanes' remaining work, corrected by how wrong the predictions were so far."""
        if self._predicted_done_s <= 0:
            return None
        correction = self._measured_done_s / self._predicted_done_s
        slot_s = self._left_s["slot"] / max(1, self.cluster.slots)
        return max(slot_s, sum(self._left_s.values()) / self.cluster.cores) * correction

    def _conclude(self) -> None:
        state = self._state
        self._report.failures = {key: self._failures[key] for key in state.failed}
        self._report.skipped = dict(state.skipped)
        self._report.wall_s = self._now()


def capacity_of(cluster: Cluster) -> Capacity:
    """What the cluster gives to fits."""
    return Capacity(cores=cluster.cores, slots=cluster.slots, memory_bytes=cluster.memory_bytes)


def as_task(fit: PlannedFit, work_s: float, memory_bytes: int, timeout_s: float, after: tuple[str, ...] = ()) -> Task:
    """A planned fit as the scheduler sees it, to be started when the fits `after` are done."""
    return Task(
        key=fit.spec.key,
        label=fit.spec.label,
        family=fit.spec.family,
        engine=fit.engine,
        lane=fit.lane,
        work_s=work_s,
        memory_bytes=memory_bytes,
        max_threads=fit.needs.max_threads,
        after=after,
        group=f"{fit.spec.target} {fit.spec.fold.name}",
        deadline_s=timeout_s,
    )
