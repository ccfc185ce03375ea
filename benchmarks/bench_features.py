"""Features against straightforward pandas, and the memory of many processes that read windows of one table.

python benchmarks/bench_features.py [RUNS]
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dated
import numpy as np
import pandas as pd
import polars as pl
import psutil

from raytrain.data import Frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.preprocess import Preprocess
from raytrain.features.windows import Windows
from raytrain.machine.detect import detect

ROOT = Path(__file__).parents[1]
COLUMNS = [f"c{number}" for number in range(25)]
SHAPES = {"6,000 x 150": (6_000, 1), "1,000,000 x 150": (1_000_000, 200)}
"""Rows and series; 25 columns make 150 features."""
STEPS = FeaturesConfig.model_validate(
    {
        "steps": [
            {"step": "log_return", "columns": COLUMNS, "rows": [1, 21]},
            {"step": "rolling_mean", "columns": COLUMNS, "rows": [63]},
            {"step": "zscore", "columns": COLUMNS, "rows": [21]},
            {"step": "volatility", "columns": COLUMNS, "rows": [21]},
            {"step": "rsi", "columns": COLUMNS, "rows": 14},
        ]
    }
)
TABLE_ROWS, TABLE_FEATURES, STEPS_BACK, BATCH = 400_000, 150, 60, 256


def make_frame(rows: int, series: int) -> Frame:
    """Random walks."""
    rng, length = np.random.default_rng(0), rows // series
    walks = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (series, length, len(COLUMNS))), axis=1)).reshape(rows, -1)
    days = np.datetime64("1990-01-01", "us") + np.arange(length) * np.timedelta64(1, "D")
    keys = {
        "series_id": np.repeat([f"S{number:03}" for number in range(series)], length),
        "date": np.tile(days, series),
    }
    table = pl.DataFrame(keys | dict(zip(COLUMNS, walks.T, strict=True)))
    return Frame(table, COLUMNS[0], COLUMNS[0], 252.0, "random walks")


def by_raytrain(frame: Frame) -> np.ndarray:
    """(rows, features) float32."""
    return build(frame, STEPS).x


def by_pandas(table: pd.DataFrame) -> np.ndarray:
    """The same features, series by series and column by column, as one writes them down."""
    features = {}
    for name in COLUMNS:
        for rows in (1, 21):
            features[f"{name}_ret_{rows}"] = np.log(table[name] / table.groupby("series_id")[name].shift(rows))
    recipes = {
        "mean": lambda value: value.rolling(63, min_periods=51).mean(),
        "z": lambda value: (value - value.rolling(21, min_periods=17).mean()) / value.rolling(21, min_periods=17).std(),
        "vol": lambda value: np.log(value / value.shift(1)).rolling(21, min_periods=17).std(),
        "rsi": rsi_by_pandas,
    }
    for short, recipe in recipes.items():
        for name in COLUMNS:
            features[f"{name}_{short}"] = table.groupby("series_id")[name].transform(recipe)
    return pd.DataFrame(features).to_numpy(dtype=np.float32)


def rsi_by_pandas(value: pd.Series, rows: int = 14) -> pd.Series:
    """Wilder's: the mean of the first changes, then a recursive average."""
    change = value.diff()

    def wilder(moves: pd.Series) -> pd.Series:
        seeded = moves.copy()
        seeded.iloc[:rows] = np.nan
        seeded.iloc[rows] = moves.iloc[1 : rows + 1].mean()
        return seeded.ewm(alpha=1 / rows, adjust=False).mean()

    up, down = wilder(change.clip(lower=0)), wilder(-change.clip(upper=0))
    return 100 * up / (up + down)


def measure(way: str, shape: str, out: Path) -> None:
    """Run in a process of its own: CPU seconds of the first and of a later call, and the peak of memory.

    The peak is that of the first call, beyond what the process took with its table before.
    """
    frame = make_frame(*SHAPES[shape])
    table = frame.table.to_pandas() if way == "pandas" else None
    with _Peak() as peak:
        x, first = _timed(frame, table)
    size = frame.table.select(COLUMNS).estimated_size()
    np.save(out, x)
    found = {"first": first, "memory": (size + peak.beyond) / (size + x.nbytes)}
    del x
    print(json.dumps(found | {"later": _timed(frame, table)[1]}))


def _timed(frame: Frame, table: pd.DataFrame | None) -> tuple[np.ndarray, float]:
    began = time.process_time()
    x = by_raytrain(frame) if table is None else by_pandas(table)
    return x, time.process_time() - began


class _Peak:
    """Largest resident memory inside the `with`, beyond that at its start."""

    beyond = 0

    def __enter__(self) -> "_Peak":
        self._process, self._done = psutil.Process(), threading.Event()
        self._before = self._process.memory_info().rss
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.beyond = max(self.beyond, self._process.memory_info().rss - self._before)


def read_windows(folder: Path) -> None:
    """What a worker does: fit the preprocessing, then take windows from all over the table, in batches."""
    process = psutil.Process()
    before = process.memory_full_info().uss
    table = np.load(folder / "x.npy", mmap_mode="r")
    ends = np.arange(STEPS_BACK - 1, len(table))
    windows = Windows(table, ends, STEPS_BACK, Preprocess.fit(table, ends))
    for start in range(0, len(ends), 40 * BATCH):
        windows[start : start + BATCH]
    print(process.memory_full_info().uss - before, flush=True)
    sys.stdin.readline()


def windows_memory(path: Path, workers: int) -> str:
    """A row: what all workers hold together, as shares of the table."""
    # Pages that only one process maps would count as its own, so this one maps them too.
    table = np.load(path, mmap_mode="r")
    table.sum()
    command, pipe = [sys.executable, __file__, "windows", str(path.parent)], subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(workers)]
    try:
        own = sum(int(process.stdout.readline()) for process in processes if process.stdout)
        everyone = [os.getpid(), *(process.pid for process in processes)]
        maps = [one for pid in everyone for one in psutil.Process(pid).memory_maps()] if psutil.LINUX else []
        mapped = sum(one.pss for one in maps if one.path == str(path))
    finally:
        for process in processes:
            process.communicate("\n")
    return f"| {workers} | {f'{mapped / table.nbytes:.2f}' if maps else 'not told here'} | {own / table.nbytes:.2f} |"


def compare(shape: str, runs: int, folder: Path) -> Iterator[str]:
    """Rows of the table about one shape."""
    found: dict[str, list[dict[str, float]]] = {"raytrain": [], "pandas": []}
    for _ in range(runs):
        for way, results in found.items():
            command = [sys.executable, __file__, "measure", way, shape, str(folder / f"{way}.npy")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(done.stdout))
    np.testing.assert_allclose(*(np.load(folder / f"{way}.npy", mmap_mode="r") for way in found), rtol=1e-5, atol=1e-5)
    calls = ("first", "later")
    for way, results in found.items():
        times = " | ".join(f"{_spread([one[call] for one in results])} s" for call in calls)
        yield f"| {shape} | {way} | {times} | {statistics.median(one['memory'] for one in results):.1f} |"
    pairs = list(zip(found["raytrain"], found["pandas"], strict=True))
    ratios = " | ".join(_spread([theirs[call] / ours[call] for ours, theirs in pairs]) for call in calls)
    yield f"| {shape} | pandas / raytrain | {ratios} | |"


def main() -> None:
    """Measure and write the dated file."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [row for shape in SHAPES for row in compare(shape, runs, folder)]
        table = np.random.default_rng(0).standard_normal((TABLE_ROWS, TABLE_FEATURES), dtype=np.float32)
        np.save(folder / "x.npy", table)
        windows = [windows_memory(folder / "x.npy", workers) for workers in (1, 2, 4)]
    machine = detect()
    text = f"""# Features and windows, {datetime.date.today()}
Machine: {machine.name} ({machine.pcores} cores). Runs: {runs}, each in a process of its own; medians, with (min, max).
Equal within 1e-5. Times are CPU seconds: both ways work on one core, and what else runs on the machine disturbs the
clock more. The first call in a process also pays for fresh memory and for code that is not loaded yet.
Memory: (table + peak beyond it) / (table + wanted output).

| shape | way | first call | later call | memory |
|---|---|---|---|---|
{chr(10).join(rows)}

Windows of {STEPS_BACK} rows over a mapped table of {TABLE_ROWS:,} x {TABLE_FEATURES} ({table.nbytes / 2**20:.0f} MiB),
preprocessed on the way out; memory of all workers together, in tables.

| workers | the table, mapped by all (PSS) | private (USS) |
|---|---|---|
{chr(10).join(windows)}
"""
    dated.write("features", text)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}, {max(values):.3g})"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", way, shape, out]:
            measure(way, shape, Path(out))
        case ["windows", folder]:
            read_windows(Path(folder))
        case _:
            main()
