"""What raytrain itself costs: the driver's CPU per fit, the time until the first fit runs, the table in memory once.

python benchmarks/bench_overhead.py [RUNS] [short]

`short` measures with fewer fits and a smaller table, to see that everything works.
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dated
import numpy as np
import polars as pl
import psutil

from raytrain.cluster.runner import Runner
from raytrain.config import load
from raytrain.machine.detect import detect
from raytrain.machine.sensors import find_heat_sensor
from raytrain.pipeline import Prepared, prepare
from raytrain.run_config import RunConfig
from raytrain.work.store import ResultStore

ROOT = Path(__file__).parents[1]
QUIET = ["--tracking.mlflow", "false", "--cluster.dashboard", "false", "--plan", "none"]
CPU_PER_FIT_S, FIRST_FIT_S = 5e-3, 10.0
NUM_FITS, NUM_ROWS, NUM_SERIES = 2000, 400_000, 80
NUM_FEATURES = 150


@dataclass(frozen=True)
class Mapped:
    """One worker's memory, in bytes."""

    rss: int
    uss: int
    table: int
    """Pages of the table that are resident through its mapping."""
    private: int
    """Those of them that no other process shares."""


@contextmanager
def runner_of(run: Prepared, folder: Path) -> Iterator[Runner]:
    """A runner as the daily job makes one."""
    store = ResultStore(folder)
    stories = folder / "stories"
    stories.mkdir(parents=True)
    with Runner(
        profile=run.profile,
        config=run.config.cluster,
        store=store,
        dataset=run.dataset.save(folder / "prepared"),
        stories=stories,
        sensor=find_heat_sensor(),
        watch=lambda status: None,
        stop_requested=lambda: False,
        announce=lambda cluster: None,
    ) as runner:
        yield runner


def driver_cpu_s(num_fits: int, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds per fit of the driver's process, all its threads, while the cheapest family is fitted."""
    seeds = json.dumps(list(range(num_fits // 12 + 2)))
    options = ["--families", '["naive"]', "--seeds", seeds, "--folds.num_folds", "4", "--store", str(folder), *QUIET]
    run = prepare(load(RunConfig, [ROOT / "configs" / "demo.yaml"], options))
    fits = list(run.plan.fits)
    with runner_of(run, folder) as runner:
        runner.run(fits[:24])  # starts Ray and its workers
        cpu, wall = time.process_time(), time.perf_counter()
        done = runner.run(fits[24 : 24 + num_fits])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert len(done) == len(fits[24 : 24 + num_fits])
    return cpu / len(done), wall / len(done)


def first_fit_s(folder: Path) -> float:
    """Seconds from the command to the first fit that runs."""
    options = ["--config", "configs/demo.yaml", "--store", str(folder), *QUIET, "--families", '["naive", "lightgbm"]']
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "raytrain.jobs.daily", *options], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        while not any((folder / "inflight").glob("*.json")) and process.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        assert process.poll() is None, "the job ended before a fit ran"
        return seconds
    finally:
        process.terminate()
        process.wait()


def mapped_once(num_rows: int, folder: Path) -> tuple[int, list[Mapped]]:
    """Bytes of the table, and the memory of each worker that has read all of it."""
    run = prepare(load(RunConfig, [], _wide(num_rows, folder)))
    with runner_of(run, folder / "store") as runner:
        # Fits enough that every worker has its share.
        runner.run(run.plan.fits)
        me = psutil.Process()
        found = [_mapped(process) for process in me.children(recursive=True) if process.is_running()]
    return run.dataset.x.nbytes, [one for one in found if one is not None]


def _wide(num_rows: int, folder: Path) -> list[str]:
    """A table of noise whose features are its columns."""
    columns = [f"c{number}" for number in range(NUM_FEATURES)]
    rng, length = np.random.default_rng(0), num_rows // NUM_SERIES
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (NUM_SERIES, length)), axis=1)).ravel()
    dates = np.datetime64("2000-01-03", "us") + np.arange(length) * np.timedelta64(1, "D")
    keys = {
        "series_id": np.repeat([f"S{one:02}" for one in range(NUM_SERIES)], length),
        "date": np.tile(dates, NUM_SERIES),
    }
    noise = rng.standard_normal((len(columns), num_rows), dtype=np.float32)
    path = folder / "wide.parquet"
    pl.DataFrame(keys | {"close": close} | dict(zip(columns, noise, strict=True))).write_parquet(path)
    steps = json.dumps([{"step": "as_is", "columns": columns}])
    options = ["--data.kind", "parquet", "--data.path", str(path), "--features.steps", steps, "--families", '["naive"]']
    options += ["--store", str(folder / "store"), "--seeds", json.dumps(list(range(8))), "--folds.num_folds", "2"]
    return [*options, "--targets", '[{"kind": "return", "horizon": 5, "label": "1w"}]', *QUIET]


def _mapped(process: psutil.Process) -> Mapped | None:
    """None for a process that does not map the table."""
    try:
        maps = [one for one in process.memory_maps(grouped=True) if one.path.endswith("/x.npy")]
        memory = process.memory_full_info()
    except psutil.Error:
        return None
    if not maps:
        return None
    private = sum(one.private_clean + one.private_dirty for one in maps)
    return Mapped(memory.rss, memory.uss, sum(one.rss for one in maps), private)


def main() -> None:
    """Measure and write the dated file."""
    short = "short" in sys.argv
    runs = next((int(word) for word in sys.argv[1:] if word.isdigit()), 1 if short else 3)
    num_fits, num_rows = (200, 80_000) if short else (NUM_FITS, NUM_ROWS)
    cpu, wall, first = [], [], []
    os.chdir(ROOT)
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            first.append(first_fit_s(Path(one)))
            per_fit = driver_cpu_s(num_fits, Path(other))
            cpu.append(1e3 * per_fit[0])
            wall.append(1e3 * per_fit[1])
    with tempfile.TemporaryDirectory() as folder:
        table, workers = mapped_once(num_rows, Path(folder)) if hasattr(psutil.Process, "memory_maps") else (0, [])
    machine = detect()
    text = f"""# What raytrain itself costs, {datetime.date.today()}
Machine: {machine.name} ({machine.pcores} cores). Runs: {runs}. Medians, with (min, max).

| figure | value | target |
|---|---|---|
| CPU of the driver's process per fit through Ray, {num_fits} fits | {_spread(cpu)} ms | {1e3 * CPU_PER_FIT_S:.0f} ms |
| from one fit's end to the next's, a core beside another | {_spread(wall)} ms | |
| first fit running after the command | {_spread(first)} s | {FIRST_FIT_S:.0f} s |
{_memory(table, workers)}"""
    if short:
        print(text)
    else:
        dated.write("overhead", text)


def _memory(table: int, workers: list[Mapped]) -> str:
    if not workers:
        return "\nThis system does not tell which pages of a mapping are shared.\n"
    rows = "".join(f"| {_mb(one.rss)} | {_mb(one.uss)} | {_mb(one.table)} | {_mb(one.private)} |\n" for one in workers)
    return f"""
{len(workers)} workers that have read all of a table of {_mb(table)}, in MB:

| resident | its own (USS) | of the table resident | of that its own |
|---|---|---|---|
{rows}"""


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f}"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


if __name__ == "__main__":
    main()
