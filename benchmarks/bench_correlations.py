"""Rolling correlations inside five blocks of 30 columns over three windows, against pandas pair by pair.

python benchmarks/bench_correlations.py [ROWS ...]
"""

import datetime
import json
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import dated
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raytrain.features.correlations.rolling import Windows, rolling_correlations
from raytrain.machine.detect import detect

NUM_BLOCKS, PER_BLOCK, DAYS, MIN_ROWS = 5, 30, (90, 180, 365), 20
ROWS = (6_000, 100_000)
PAIRS = np.array([pair for block in range(NUM_BLOCKS) for pair in combinations(range(30 * block, 30 * block + 30), 2)])


def make_changes(num_rows: int) -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """Days and (columns, rows) changes with a common part per block; every third column misses holidays of its own."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(NUM_BLOCKS, 1, num_rows))
    values = 0.01 * (0.5 * common + rng.normal(size=(NUM_BLOCKS, PER_BLOCK, num_rows)))
    for kind in range(3):
        values[:, kind::3, rng.random(num_rows) < 0.03 * kind] = np.nan
    dates = np.datetime64("1810-01-01", "us") + np.arange(num_rows) * np.timedelta64(1, "D")
    return dates, values.reshape(NUM_BLOCKS * PER_BLOCK, num_rows)


def ours(dates: NDArray[np.datetime64], values: NDArray[np.float64], first: int = 0) -> NDArray[np.float32]:
    """(windows, pairs, rows)"""
    windows = Windows.of_days(dates, DAYS)
    return rolling_correlations(values, PAIRS, windows, min_rows=MIN_ROWS, first=first, threads=detect().pcores)


def against_pandas(
    dates: NDArray[np.datetime64], values: NDArray[np.float64], found: NDArray[np.float32]
) -> tuple[float, float]:
    """Seconds that pandas takes, and the largest difference; one pair at a time is in memory."""
    index = pd.DatetimeIndex(dates)
    columns = [pd.Series(column, index) for column in values]
    full = Windows.of_days(dates, DAYS).full
    seconds, worst = 0.0, 0.0
    for number, (left, right) in enumerate(PAIRS):
        for window, days in enumerate(DAYS):
            began = time.perf_counter()
            theirs = columns[left].rolling(f"{days}D", min_periods=MIN_ROWS).corr(columns[right])
            seconds += time.perf_counter() - began
            expected = np.where(full[window], theirs.to_numpy(), np.nan)
            assert np.array_equal(np.isnan(expected), np.isnan(found[window, number]))
            worst = max(worst, float(np.nanmax(np.abs(expected - found[window, number]))))
    return seconds, worst


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def measure_memory(num_rows: int) -> None:
    """In a process of its own: print the growth over the bare process, and the size of table and output, in bytes."""
    bare = peak_bytes()
    dates, values = make_changes(num_rows)
    made = peak_bytes()
    found = ours(dates, values)
    grown = peak_bytes() - (made if made > bare + values.nbytes else bare) + values.nbytes
    print(json.dumps([grown, values.nbytes + found.nbytes]))


def row(num_rows: int) -> str:
    """One line of the result."""
    dates, values = make_changes(num_rows)
    times = []
    for _ in range(4):
        # Freed first, so that the memory is the same each time.
        found = np.empty((0, 0, 0), np.float32)
        began = time.perf_counter()
        found = ours(dates, values)
        times.append(time.perf_counter() - began)
    # The first time a virtual machine's memory is made behind its back: seconds for gigabytes, whoever writes them.
    times = times[1:]
    began = time.perf_counter()
    newest = ours(dates, values, first=num_rows - 1)
    append = time.perf_counter() - began
    assert np.array_equal(newest[:, :, 0], found[:, :, -1], equal_nan=True)
    theirs, worst = against_pandas(dates, values, found)
    del found
    memory = "not measured"
    if Path("/proc/self/status").exists():
        command = [sys.executable, __file__, "--memory", str(num_rows)]
        used, wanted = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        memory = f"{used / 1e6:.0f} MB, {used / wanted:.2f} x table and output"
    middle = sorted(times)[1]
    spread = f"{middle:.2f} ({min(times):.2f}, {max(times):.2f}) s"
    return (
        f"| {num_rows:,} | {theirs:.1f} s | {spread} | {theirs / middle:.0f} x | {worst:.0e} | {memory} "
        f"| {append:.3f} s |"
    )


def main() -> None:
    """Measure and write the dated file."""
    machine = detect()
    lines = [row(int(text)) for text in sys.argv[1:]] or [row(rows) for rows in ROWS]
    text = f"""# Rolling correlations, {datetime.date.today()}
Machine: {machine.name} ({machine.pcores} cores). {NUM_BLOCKS} blocks of {PER_BLOCK} columns, {len(PAIRS)} pairs,
windows of {", ".join(map(str, DAYS))} days, two thirds of the columns with holidays. Ours on all cores: median (min,
max) of 3 after one to warm up; pandas, on the one core that it uses: `left.rolling("90D").corr(right)` of each pair.

| rows | pandas | ours | ratio | largest difference | peak memory | one new row |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}
"""
    dated.write("correlations", text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        measure_memory(int(sys.argv[2]))
    else:
        main()
