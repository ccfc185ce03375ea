"""The pure scheduler alone: what a decision costs, what a waiting fit holds, how near the bound bulk work comes.

python benchmarks/bench_schedule.py [MOST_FITS]
"""

import datetime
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import dated

from raytrain.machine.detect import detect
from raytrain.schedule.simulate import simulate
from raytrain.schedule.state import State
from raytrain.schedule.words import Capacity, Task

ROOT = Path(__file__).parents[1]
FITS, CORES = (100, 1_000, 10_000, 100_000, 1_000_000), (2, 10, 100, 1_000, 10_000)
MOST_US, MOST_BYTES, MOST_OVER_BOUND = 50, 2_000, 1.02
BULK = 100
"""Fits a core, from which the work is bulk work: the last fit is short beside the whole."""
REPEAT_BELOW = 100_000


def make_tasks(num_fits: int) -> list[Task]:
    """Folds x targets x families: lengths from 0.1 s to 100 s, a tenth in the slot, a fiftieth mixes three others."""
    rng = random.Random(0)
    tasks: list[Task] = []
    for number in range(num_fits):
        in_slot, mixes = number % 10 == 3, number % 50 == 49
        tasks.append(
            Task(
                key=f"{number:032x}",
                label=f"family return_1w 2018-01-01 s{number}",
                family=f"family {number % 12}",
                engine="torch" if in_slot else "native",
                lane="slot" if in_slot else "cores",
                work_s=min(100.0, max(0.1, rng.lognormvariate(0.5, 1.0))),
                memory_bytes=400 * 2**20 + rng.randrange(2**29),
                max_threads=1 if in_slot else 4,
                after=tuple(task.key for task in tasks[-3:]) if mixes else (),
                group=f"fold {number // 100}",
            )
        )
    return tasks


def capacity_of(cores: int) -> Capacity:
    """A slot and 3 GiB for each ten cores and one, as on the machines that raytrain is made for."""
    return Capacity(cores=cores, slots=max(1, cores // 10), memory_bytes=3 * 2**30 * cores)


def microseconds(tasks: list[Task], cores: int) -> tuple[float, float]:
    """CPU time of a whole simulated run by fit, and the run's length over the bound; medians of three when short."""
    found = []
    for _ in range(3 if len(tasks) < REPEAT_BELOW else 1):
        gc.collect()
        began = time.process_time()
        done = simulate(tasks, capacity_of(cores))
        found.append((1e6 * (time.process_time() - began) / len(tasks), done.makespan_s / done.lower_bound_s))
    return statistics.median(us for us, _ in found), found[0][1]


def bytes_held(tasks: list[Task], cores: int) -> float:
    """Bytes by fit that the state holds beside the tasks, once all are known and the first have started."""
    gc.collect()
    tracemalloc.start()
    state = State(tasks, capacity_of(cores))
    state.start(0.0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(tasks)


def task_bytes(tasks: list[Task]) -> float:
    """Bytes of a task itself."""
    tracemalloc.start()
    again = make_tasks(len(tasks))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(again)


def rows(most_fits: int) -> Iterator[tuple[int, int, float, float, float, float]]:
    """Fits, cores, microseconds, bytes of state and of tasks, length over bound."""
    for num_fits in FITS:
        if num_fits > most_fits:
            return
        tasks = make_tasks(num_fits)
        own = task_bytes(tasks)
        for cores in CORES:
            if cores <= num_fits:
                us, over = microseconds(tasks, cores)
                yield num_fits, cores, us, bytes_held(tasks, cores), own, over


def report(most_fits: int) -> Iterator[str]:
    """The file, line by line."""
    profile = detect()
    yield f"# The scheduler alone, {profile.name}, {datetime.date.today()}"
    yield ""
    yield "A run on a virtual clock, no Ray. CPU time of the whole simulation by fit, the clock's part included."
    yield ""
    yield "| fits | cores | us a fit | bytes a fit, state + task | length / bound |"
    yield "|---:|---:|---:|---:|---:|"
    found = []
    for fits, cores, us, held, own, over in rows(most_fits):
        bulk = fits >= BULK * cores
        found.append((us, held + own, over if bulk else 1.0))
        shown = f"{over:.4f}" if bulk else "too few fits a core"
        yield f"| {fits:,} | {cores:,} | {us:.1f} | {held:.0f} + {own:.0f} | {shown} |"
    yield ""
    for what, worst, most in (
        ("us a fit", max(us for us, _, _ in found), MOST_US),
        ("bytes a fit", max(held for _, held, _ in found), MOST_BYTES),
        ("length / bound of bulk work", max(over for _, _, over in found), MOST_OVER_BOUND),
    ):
        yield f"{what}: at worst {worst:.4g}, at most {most} wanted: {'kept' if worst <= most else 'MISSED'}"


def main() -> None:
    """Print and keep."""
    most_fits = int(sys.argv[1]) if len(sys.argv) > 1 else FITS[-1]
    lines = []
    for line in report(most_fits):
        print(line, flush=True)
        lines.append(line)
    if most_fits >= FITS[-1]:
        dated.write("schedule", "\n".join(lines) + "\n", show=False)


if __name__ == "__main__":
    main()
