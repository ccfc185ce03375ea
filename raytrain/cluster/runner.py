"""Run a set of fits: take what is on disk, send the rest to the cluster, which is started only if there is a rest."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from raytrain.cluster import endings
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.driver import Driver, Ran, Status, as_task
from raytrain.cluster.experience import FORECAST_S, learned_costs
from raytrain.cluster.ray_cluster import Cluster, open_cluster, sweep
from raytrain.cluster.rescoring import rescore_all
from raytrain.cluster.senses import Senses
from raytrain.cluster.worker import Failure
from raytrain.evaluation.scoring.pairs import NAIVE
from raytrain.machine.profile import MachineProfile
from raytrain.machine.sensors import HeatSensor
from raytrain.schedule.costs import Cost, CostModel, Outline
from raytrain.schedule.policy import decided_early
from raytrain.schedule.words import Capacity, Task
from raytrain.work import inflight
from raytrain.work.models import ModelStore
from raytrain.work.plan import PlannedFit
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore


@dataclass
class Tally:
    """What a run did, fit by fit."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """One row per fit: key, label, family, target, fold, lane, engine, status and what it cost."""
    failures: list[Failure] = field(default_factory=list)
    stopped: bool = False
    busy_s: float = 0.0
    """Seconds during which fits were running."""
    slept_s: float = 0.0
    """Seconds in which the machine slept meanwhile."""
    cores: int = 1
    """Cores of the cluster, or of the machine while no cluster was needed."""

    def count(self, status: str) -> int:
        """Fits with this status."""
        return sum(row["status"] == status for row in self.rows)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the fits of this run; stored fits cost nothing."""
        return float(sum(row["cpu_s"] or 0.0 for row in self.rows if row["status"] == "ok"))


@dataclass
class Runner:
    """Runs sets of fits on one cluster, one set after another."""

    profile: MachineProfile
    config: ClusterConfig
    store: ResultStore
    dataset: Path
    stories: Path
    """Folder for the scheduler's story of each set."""
    sensor: HeatSensor
    watch: Callable[[Status], None]
    stop_requested: Callable[[], bool]
    announce: Callable[[Cluster], None]
    tally: Tally = field(default_factory=Tally)
    cluster: Cluster | None = None

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._began = time.monotonic()
        self._num_sets = 0
        self.tally.cores = self.profile.pcores
        sweep(self.store.root)
        inflight.sweep(self.store.root)
        self.store.sweep()
        self._costs = learned_costs(self.store)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def run(self, fits: Sequence[PlannedFit]) -> list[PlannedFit]:
        """Bring every fit to its final state; returns those that have a result.

        Raises:
            ClusterLost: Ray went away.
            CannotFit: a fit needs more than the machine has.
        """
        by_key = {fit.spec.key: fit for fit in fits}
        stored = self.store.finished(by_key)
        self.tally.rows += [self._stored_row(by_key[key]) for key in by_key if key in stored]
        rest = {key: fit for key, fit in by_key.items() if key not in stored}
        for key, fit in list(rest.items()):
            # A member that failed in an earlier set is neither stored nor coming.
            if any(member not in rest and not self.store.has(member) for member in fit.spec.members):
                self.tally.rows.append(_row(rest.pop(key), "skipped"))
                self.tally.failures.append(endings.never_ran(fit.spec, "one of them failed in this run"))
        if rest and not self.tally.stopped:
            self._drive(rest)
        return [fit for key, fit in by_key.items() if self.store.has(key)]

    def rescored(self, specs: Sequence[FitSpec]) -> tuple[dict[str, pl.DataFrame], list[str]]:
        """What the CPU forecasts with the models of fits that an accelerator computed; see `cluster.rescoring`."""
        if not specs or self.tally.stopped:
            return {}, []
        return rescore_all(specs, self._opened(), self.config, self.dataset.absolute(), self.store.root.absolute())

    def _opened(self) -> Cluster:
        """The cluster, started when it is first needed."""
        if self.cluster is None:
            self.senses = self._stack.enter_context(Senses(self.sensor))
            self.cluster = self._stack.enter_context(open_cluster(self.profile, self.config, self.store.root))
            self.tally.cores = self.cluster.cores
            self.announce(self.cluster)
        return self.cluster

    def _drive(self, fits: dict[str, PlannedFit]) -> None:
        cluster = self._opened()
        offset = time.monotonic() - self._began
        self._num_sets += 1
        expected = expect(fits.values(), self.store, self._costs, self.config.timeout_s)
        with (self.stories / f"story-{self._num_sets}.jsonl").open("w", encoding="utf-8") as story:
            driver = Driver(
                cluster=cluster,
                config=self.config,
                fits=fits,
                tasks=expected.tasks,
                durations=expected.seconds,
                dataset=self.dataset,
                store=self.store.root,
                story=story,
                senses=self.senses,
                watch=self.watch,
                stop_requested=self.stop_requested,
            )
            report = driver.run()
        self.tally.stopped |= report.stopped
        self.tally.busy_s += report.wall_s
        self.tally.slept_s += report.slept_s
        self.tally.failures += report.failures.values()
        for key, why in report.skipped.items():
            if why.cause:
                self.tally.failures.append(endings.never_ran(fits[key].spec, f"{fits[why.cause].spec.label} failed"))
        last_try = {ran.key: ran for ran in report.ran}
        for key, fit in fits.items():
            if key in report.skipped or key not in last_try:
                self.tally.rows.append(_row(fit, "failed" if key in report.failures else "skipped"))
            else:
                self.tally.rows.append(_ran_row(fit, last_try[key], offset))

    def _stored_row(self, fit: PlannedFit) -> dict[str, Any]:
        cost = self.store.result(fit.spec.key)["cost"]
        return _row(fit, "cached") | {name: cost[name] for name in _COSTS}


_COSTS = ("wall_s", "cpu_s", "peak_memory_bytes", "threads")


def _row(fit: PlannedFit, status: str) -> dict[str, Any]:
    spec = fit.spec
    return {
        "key": spec.key,
        "label": spec.label,
        "family": spec.family,
        "target": spec.target,
        "fold": spec.fold.name,
        "lane": fit.lane,
        "engine": fit.engine,
        "device": spec.device,
        "status": status,
        "worker": None,
        "start_s": None,
        "end_s": None,
    } | dict.fromkeys(_COSTS)


def _ran_row(fit: PlannedFit, ran: Ran, offset: float) -> dict[str, Any]:
    row = _row(fit, ran.status) | {"threads": ran.threads}
    row |= {"start_s": ran.started_s + offset, "end_s": ran.ended_s + offset}
    if ran.outcome is not None:
        row["worker"] = ran.outcome.worker
        # The worker's own clock: what waited in Ray's queue is not the fit's.
        row["start_s"] = row["end_s"] - (ran.outcome.ended_at - ran.outcome.started_at)
        if ran.outcome.cost is not None:
            row |= {name: ran.outcome.cost[name] for name in _COSTS}
    return row


ORDER_S = 0.02
"""What a fit takes beside its own seconds: sending the order, storing the result, telling of it. Measured."""
CLUSTER_START_S = 4.0
"""From the first fit that is to run until a cluster of our own takes it. Measured."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a set of fits is expected to take."""

    tasks: list[Task]
    """The fits as the scheduler sees them."""
    costs: Mapping[str, Cost]
    """By key."""
    start_s: Callable[[str], float]
    """Seconds by which a new process of an engine makes its first fit late."""

    def seconds(self, task: Task, threads: int) -> float:
        """From the order to the stored result, on an idle machine."""
        return self.costs[task.key].seconds(threads) + ORDER_S


def expect(fits: Iterable[PlannedFit], store: ResultStore, costs: CostModel, timeout_s: float) -> Expected:
    """What planned fits will take; one whose model is kept from before is not trained again."""
    fits, models = list(fits), ModelStore(store.root)
    found, tasks, here = {}, [], {fit.spec.key for fit in fits}
    for fit in fits:
        cost = costs.predict(_outline(fit, trained=models.has(fit.spec.train_key)))
        threads = cost.useful_threads(fit.needs.max_threads, costs.start_s(fit.engine))
        # What is not here is stored already.
        after = tuple(key for key in fit.spec.members if key in here)
        learned = cost.num_records > 0
        task = as_task(fit, cost.work_s, cost.memory_bytes, timeout_s, after, learned=learned)
        tasks.append(replace(task, max_threads=threads, group=f"{fit.engine} {fit.spec.fold.name}"))
        found[fit.spec.key] = cost
    return Expected(tasks=decided_early(tasks, (NAIVE,)), costs=found, start_s=costs.start_s)


def _outline(fit: PlannedFit, *, trained: bool) -> Outline:
    return Outline(
        family=fit.spec.family,
        engine=fit.engine,
        device=fit.spec.device,
        params=fit.spec.params,
        target=fit.spec.target,
        prior_work_s=FORECAST_S if trained else fit.prior.work_s,
        prior_memory_bytes=fit.prior.memory_bytes,
        budget_s=fit.spec.budget_s,
        trained=trained,
    )


def capacity_of_machine(profile: MachineProfile) -> Capacity:
    """What a cluster shaped like `profile` would give to fits."""
    return Capacity(cores=profile.pcores, slots=profile.num_slots, memory_bytes=profile.memory_bytes)


def failure_row(failure: Failure) -> dict[str, Any]:
    """A failure as it stands in summary.json."""
    return asdict(failure) | {"memory": failure.memory_bytes}
