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
from raytrain.cluster.governor import Governor
from raytrain.cluster.hands import Call, Execute, Hands
from raytrain.cluster.nodes import Counted
from raytrain.cluster.ray_cluster import Cluster
from raytrain.cluster.senses import Senses
from raytrain.cluster.watch import NodeWatch
from raytrain.cluster.worker import Failure, Outcome, execute
from raytrain.errors import RaytrainError
from raytrain.machine.sensors import Heat, SleepWatch
from raytrain.schedule import story
from raytrain.schedule.countdown import Countdown
from raytrain.schedule.simulate import Durations, predicted
from raytrain.schedule.state import State
from raytrain.schedule.words import (
    AskStop,
    Capacity,
    EndIdle,
    Event,
    Finished,
    FitFinished,
    FitStopped,
    Instruction,
    Kill,
    ReleaseSlot,
    Reserve,
    Settings,
    Skipped,
    Start,
    StopRequested,
    Task,
    Tick,
)
from raytrain.work import inflight
from raytrain.work.plan import PlannedFit
from raytrain.work.spec import FitSpec

TICK_EVERY_S = 0.5
STOP_GRACE_S = 5.0
"""After a stop was asked for, running fits have this long to reach a safe point; then their processes are killed."""
LEAST_DEADLINE_S = 120.0
DEADLINE_FACTOR = 10.0
"""Times its expected seconds that a fit may take, on a machine that others use too, before it counts as hung."""
BUDGET_GRACE_S = 60.0
"""Seconds beyond its budget in which a fit may reach its next safe point, predict and store."""


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
    """ok, failed, timeout, oom, stopped, or yielded when it made room and goes on later."""
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
    slept_s: float = 0.0
    """Seconds in which the machine slept; no deadline and no time counts them."""


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
    durations: Durations = predicted
    """Seconds that a fit is expected to take on so many threads, for the countdown."""
    work: Execute = execute
    """What a process does with its order."""

    def __post_init__(self) -> None:
        self._report = Report()
        self._killed: dict[str, str] = {}
        """Key -> why: timeout, oom, room or stop."""
        self._failures: dict[str, Failure] = {}
        self._next_tick = 0.0
        self._stop_asked_at: float | None = None

    def run(self) -> Report:
        """Run until every fit has its final state.

        Raises:
            CannotFit: a fit needs more than a machine of the cluster has.
            ClusterLost: Ray went away.
        """
        self._began = time.monotonic()
        settings = Settings(max_tries=self.config.max_tries, recycle_after=self.config.recycle_after)
        tasks = self.cluster.bounded(self.tasks)
        self._state = State(tasks, capacity_of(self.cluster), settings=settings)
        self._hands = Hands(self.cluster, self.config, self.dataset, self.store, self.work)
        self._predicted_bytes = {task.key: task.memory_bytes for task in self.tasks}
        self._countdown = Countdown(self.tasks, self.durations)
        self._governor, self._sleep = Governor(self.senses, self.store), SleepWatch()
        self._nodes = _watch(self.cluster, self.config)
        self.story.writelines(story.opening(self._state))
        instructions = self._decide(Tick(at=self._now()))
        try:
            while not self._carry_out(instructions):
                instructions = [order for event in self._events() for order in self._decide(event)]
                self._tell()
        except (exceptions.RaySystemError, exceptions.LocalRayletDiedError) as error:
            raise ClusterLost(f"Ray went away: {error}; run the same command again to go on") from error
        finally:
            self._hands.close()
            self._governor.close()
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
        # First of all, so that no fit of this batch is given a process that is about to end.
        if EndIdle() in instructions:
            self._governor.end_idle()
        for instruction in instructions:
            match instruction:
                case Start():
                    self._start(instruction)
                case AskStop(key):
                    inflight.ask_stop(self.store, key)
                case Kill(key, reason):
                    self._kill(key, reason)
                case ReleaseSlot(slot):
                    self._hands.release(slot)
                case Reserve(tokens):
                    self._governor.reserve(tokens)
                case Finished():
                    return True
        return False

    def _start(self, start: Start) -> None:
        # What was predicted, also of a fit that has all the memory to itself: Ray asks for no more than it takes.
        memory_bytes = min(self._state.tasks[start.key].memory_bytes, self._predicted_bytes[start.key])
        self._hands.start(start, self.fits[start.key], memory_bytes, self._now())

    def _kill(self, key: str, why: str) -> None:
        self._killed[key] = why
        self._hands.kill(key)

    def _events(self) -> list[Event]:
        events: list[Event] = [self._ended(call) for call in self._hands.finished()]
        now = self._now()
        if now >= self._next_tick:
            self._next_tick = now + TICK_EVERY_S
            self._report.slept_s += self._sleep.slept_s()
            events += self._governor.look(now, [call.start.key for call in self._hands.calls.values()])
            if self._nodes is not None:
                events += self._nodes.look(now)
            events.append(Tick(at=now))
        if self.stop_requested():
            events += self._stop(now)
        return events

    def _stop(self, now: float) -> list[Event]:
        if self._stop_asked_at is None:
            self._stop_asked_at = now
            self._report.stopped = True
            return [StopRequested(at=now)]
        if now - self._stop_asked_at > STOP_GRACE_S:
            for call in list(self._hands.calls.values()):
                if call.start.key not in self._killed:
                    self._kill(call.start.key, "stop")
        return []

    def _ended(self, reference: Any) -> Event:
        call = self._hands.calls.pop(reference)
        key = call.start.key
        ending = self._ending(reference, self.fits[key].spec)
        self._killed.pop(key, None)
        # The slot's process is none that idles: it is released when nothing is left for it.
        shared = ending.outcome if call.start.slot is None else None
        self._governor.ended(key, shared.worker if shared else None)
        if ending.failure is not None:
            self._failures[key] = ending.failure
        if isinstance(ending.event, FitFinished):
            self._countdown.finished(self._state.tasks[key], ending.event.wall_s, call.start.threads)
        self._report.ran.append(self._ran(call, ending))
        return ending.event

    def _ran(self, call: Call, ending: Ending) -> Ran:
        yielded = isinstance(ending.event, FitStopped) and self._stop_asked_at is None
        return Ran(
            key=call.start.key,
            lane=call.start.lane,
            threads=call.start.threads,
            outcome=ending.outcome,
            status="yielded" if yielded else ending.status,
            started_s=call.started_s,
            ended_s=ending.event.at,
        )

    def _ending(self, reference: Any, spec: FitSpec) -> Ending:
        now = self._now()
        try:
            return endings.told(ray.get(reference), now)
        except (exceptions.RaySystemError, exceptions.LocalRayletDiedError):
            raise
        except exceptions.RayError as error:
            task = self._state.tasks[spec.key]
            match self._killed.get(spec.key):
                case "stop":
                    return endings.killed_for_stop(spec, now)
                case "timeout":
                    return endings.killed_for_time(spec, task.deadline_s, now)
                case "room":
                    return endings.called_back(spec, task, now)
                case "oom":
                    return endings.killed_for_memory(spec, task, self._state.running[spec.key].memory_bytes, now)
            return endings.raised(spec, error, now)

    def _tell(self) -> None:
        now, state = self._now(), self._state
        running = tuple(
            (self.fits[key].spec.label, run.lane, 0.0 if run.began_at is None else now - run.began_at)
            for key, run in state.running.items()
        )
        self.watch(
            Status(
                total=len(self.tasks),
                done=len(state.done),
                failed=len(state.failed),
                running=running,
                eta_s=self._countdown.remaining_s(state, now),
                heat=self.senses.heat,
                held_back_by=self._held_back_by(),
            )
        )

    def _held_back_by(self) -> str:
        if self._state.core_limit or self._state.stopping:
            return ""
        return "heat" if self._state.governors.thermal == "stop" else "memory"

    def _conclude(self) -> None:
        state = self._state
        for key, failed in state.failed.items():
            if failed.reason == "room":
                self._failures[key] = endings.without_room(self.fits[key].spec, state.tasks[key])
        self._report.failures = {key: self._failures[key] for key in state.failed}
        self._report.skipped = dict(state.skipped)
        self._report.wall_s = self._now()


def _watch(cluster: Cluster, config: ClusterConfig) -> NodeWatch | None:
    """Who looks after the machines; nobody where there is this one only: it goes with the driver."""
    if not cluster.shared:
        return None
    counts = Counted(pcores=cluster.counts_pcores, thermal=cluster.counts_thermal, slot=cluster.slot_resource)
    return NodeWatch(cluster.nodes, counts, config.min_nodes, config.join_timeout_s)


def capacity_of(cluster: Cluster) -> Capacity:
    """What the cluster gives to fits."""
    return Capacity(cores=cluster.cores, slots=cluster.slots, memory_bytes=cluster.memory_bytes)


def as_task(
    fit: PlannedFit,
    work_s: float,
    memory_bytes: int,
    timeout_s: float,
    after: tuple[str, ...] = (),
    *,
    learned: bool = True,
) -> Task:
    """A planned fit as the scheduler sees it, to be started when the fits `after` are done.

    Args:
        fit: what is planned.
        work_s: seconds that it is expected to take on one thread.
        memory_bytes: the peak that is expected.
        timeout_s: seconds that no fit may take.
        after: keys of the fits that it waits for.
        learned: whether the expectation comes from fits that were measured; a mere prior is no reason to kill.
    """
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
        deadline_s=deadline_s(work_s, fit.spec.budget_s, timeout_s) if learned else timeout_s,
    )


def deadline_s(work_s: float, budget_s: float | None, timeout_s: float) -> float:
    """Seconds after which a fit that is expected to take `work_s` counts as hung; more threads only end it sooner."""
    patient_s = max(LEAST_DEADLINE_S, DEADLINE_FACTOR * work_s, 0.0 if budget_s is None else budget_s + BUDGET_GRACE_S)
    return min(timeout_s, patient_s)
