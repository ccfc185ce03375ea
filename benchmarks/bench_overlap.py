"""Two lanes side by side: tree fits fill the cores while the slot trains, against one stage after the other.

The slot is emulated: its fits wait for as long as an accelerator would compute, and use no core. The tree fits are
real, and all of them go through the driver and Ray.

python benchmarks/bench_overlap.py [--repeats 3] [--slot-fits 20] [--slot-s 2] [--seeds 3] [--rounds 100]
"""

import argparse
import datetime
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dated
import numpy as np
import polars as pl

from raytrain.cluster import hands
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.driver import Driver, Ran, as_task
from raytrain.cluster.ray_cluster import Cluster, open_cluster
from raytrain.cluster.senses import Senses
from raytrain.cluster.worker import Order, Outcome, Slot
from raytrain.data import DataConfig
from raytrain.data.frame import make_frame
from raytrain.engines.base import Needs
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, walk_forward
from raytrain.machine.detect import detect
from raytrain.machine.sensors import find_heat_sensor
from raytrain.schedule.words import Capacity
from raytrain.work.dataset import Dataset
from raytrain.work.inflight import Inflight
from raytrain.work.plan import Mode, Plan, PlannedFit, Recipes, make_plan, stages

ROOT = Path(__file__).parents[1]
ROWS, FEATURES = 3000, 60
TARGETS = tuple(TargetConfig(horizon=horizon) for horizon in (1, 5, 20))
FOLDS = FoldsConfig(test_span="1y", num_folds=5)
SLOT_MEMORY_BYTES = 256 * 2**20


class WaitingSlot(Slot):
    """A device that takes its time and leaves the cores alone."""

    def execute(self, order: Order) -> Outcome:
        """Wait for as long as the fit would compute."""
        began = time.time()
        with Inflight.enter(order.store, order.spec.key):
            time.sleep(order.prior.work_s)
        took = time.time() - began
        cost = {"wall_s": took, "cpu_s": 0.0, "peak_memory_bytes": 0, "threads": 1}
        worker = f"emulated slot:{os.getpid()}"
        return Outcome(
            key=order.spec.key, status="ok", worker=worker, started_at=began, ended_at=began + took, cost=cost
        )


def random_dataset() -> Dataset:
    """One series of business days with columns of noise."""
    rng = np.random.default_rng(0)
    days = pl.date_range(pl.date(2000, 1, 3), pl.date(2060, 1, 1), "1d", eager=True)
    dates = days.filter(days.dt.weekday() <= 5).head(ROWS)
    columns = {f"x{number}": rng.standard_normal(ROWS) for number in range(FEATURES)}
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(ROWS)))
    frame = make_frame(
        pl.DataFrame({"series_id": "A", "date": dates, "close": close, **columns}), DataConfig(), "a walk", "walk"
    )
    steps = [{"step": "as_is", "columns": list(columns)}]
    return Dataset.build(frame, build(frame, FeaturesConfig.model_validate({"steps": steps})), TARGETS)


def plan_of(dataset: Dataset, options: argparse.Namespace, first_seed: int) -> Plan:
    """Tree fits for the cores; for the slot, fits that a stand-in carries out."""
    dates = pl.Series(dataset.date[dataset.usable]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
    folds = walk_forward(dates, FOLDS)

    def fits(family: str, seeds: int, params: dict[str, object]) -> tuple[PlannedFit, ...]:
        recipes = Recipes.make(
            (family,),
            {family: params},
            targets=TARGETS,
            quantiles=(0.1, 0.5, 0.9),
            seeds=tuple(range(first_seed, first_seed + seeds)),
            slot_device="cpu",
        )
        return make_plan(dataset, folds, recipes).fits

    trees = fits("lightgbm_quantile", options.seeds, {"num_rounds": options.rounds, "valid_share": 0, "scale": "none"})
    needs = Needs(memory_bytes=SLOT_MEMORY_BYTES, work=options.slot_s)
    stand_ins = fits("naive", -(-options.slot_fits // len(folds) // len(TARGETS)) + 1, {})[: options.slot_fits]
    waits = tuple(replace(fit, engine="torch", lane="slot", needs=needs) for fit in stand_ins)
    return Plan(trees + waits, ())


@dataclass(frozen=True)
class Measured:
    """One run of all fits."""

    seconds: float
    ran: list[Ran]

    def wall_s(self, lane: str) -> float:
        """Seconds that the fits of a lane took, each by its worker's clock."""
        return sum(one.outcome.cost["wall_s"] for one in self.ran if one.lane == lane and one.outcome)

    def bound_s(self, capacity: Capacity) -> float:
        """The longer lane: the slot's own fits, or all cores busy, one of them for the slot's host while it is held."""
        slot = self.wall_s("slot")
        return max(slot, (self.wall_s("cores") + slot * capacity.slot_host_cores) / capacity.cores)


@dataclass(frozen=True)
class Where:
    """What every set of fits runs on."""

    cluster: Cluster
    senses: Senses
    dataset: Path
    place: Path
    """Folder for the store and the stories."""


def drive(stage: Sequence[PlannedFit], where: Where) -> list[Ran]:
    """Bring fits to their end through the driver."""
    config = ClusterConfig(dashboard=False)
    tasks = [as_task(fit, fit.prior.work_s, fit.prior.memory_bytes, config.timeout_s) for fit in stage]
    with (where.place / f"story-{time.time_ns()}.jsonl").open("w") as story:
        report = Driver(
            cluster=where.cluster,
            config=config,
            fits={fit.spec.key: fit for fit in stage},
            tasks=tasks,
            dataset=where.dataset,
            store=where.place / "store",
            story=story,
            senses=where.senses,
            watch=lambda status: None,
            stop_requested=lambda: False,
        ).run()
    assert not report.failures, report.failures
    return report.ran


def measure(mode: Mode, plan: Plan, where: Where) -> Measured:
    """Run the plan, everything at once or stage after stage."""
    began = time.perf_counter()
    ran = [one for _, fits in stages(plan, mode) for one in drive(fits, where)]
    return Measured(time.perf_counter() - began, ran)


def main() -> None:
    """Measure and write the dated file."""
    parser = argparse.ArgumentParser()
    for name, default in {"repeats": 3, "slot-fits": 20, "seeds": 3, "rounds": 100}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--slot-s", type=float, default=2.0, help="seconds that each fit waits in the slot")
    parser.add_argument("--out", type=Path, default=dated.RESULTS)
    options = parser.parse_args()
    machine = detect()
    taken: dict[Mode, list[Measured]] = {"overlapped": [], "two-stage": []}
    hands.Slot = WaitingSlot
    with tempfile.TemporaryDirectory() as folder, Senses(find_heat_sensor()) as senses:
        place, dataset = Path(folder), random_dataset()
        (place / "store").mkdir()
        path = dataset.save(place / "store" / "prepared")
        with open_cluster(machine, ClusterConfig(dashboard=False), place / "store") as cluster:
            where = Where(cluster, senses, path, place)
            # A few tree fits first: the workers load their library.
            drive(plan_of(dataset, options, first_seed=1).fits[: cluster.cores], where)
            for repeat in range(options.repeats):
                for number, mode in enumerate(taken):
                    plan = plan_of(dataset, options, first_seed=100 * (2 * repeat + number + 1))
                    taken[mode].append(measure(mode, plan, where))
                    print(f"{mode}: {taken[mode][-1].seconds:.1f} s", flush=True)
            capacity = Capacity(cores=cluster.cores, slots=cluster.slots, memory_bytes=cluster.memory_bytes)
    text = report(taken, capacity, options)
    dated.write("overlap", text, options.out)


def report(taken: dict[Mode, list[Measured]], capacity: Capacity, options: argparse.Namespace) -> str:
    """What came out, as text."""
    over, staged = taken["overlapped"], taken["two-stage"]
    ratios = [one.seconds / one.bound_s(capacity) for one in over]
    against = [one.seconds / other.seconds for one, other in zip(over, staged, strict=True)]
    num_trees = sum(one.lane == "cores" for one in over[0].ran)
    return f"""# Two lanes side by side, {datetime.date.today()}
Machine: {detect().name} ({capacity.cores} cores). {num_trees} LightGBM fits on the cores, {options.slot_fits} fits in
the slot. **The slot is emulated: a device that waits {options.slot_s:g} s for each fit instead of computing.** While it
is held, {capacity.slot_host_cores} core belongs to its host thread.
Repeats: {options.repeats}; medians, with (min, max).

| figure | value |
|---|---|
| slot lane: seconds of its fits | {_spread([one.wall_s("slot") for one in over])} s |
| cores lane: seconds of its fits, spread over all cores | {_spread([_per_core(one, capacity) for one in over])} s |
| the longer lane | {_spread([one.bound_s(capacity) for one in over])} s |
| overlapped | {_spread([one.seconds for one in over])} s |
| two-stage | {_spread([one.seconds for one in staged])} s |
| overlapped / the longer lane | {_spread(ratios, 3)} |
| overlapped / two-stage | {_spread(against, 2)} |
"""


def _per_core(one: Measured, capacity: Capacity) -> float:
    return one.wall_s("cores") / capacity.cores


def _spread(values: Sequence[float], digits: int = 1) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}, {high})"


if __name__ == "__main__":
    main()
