"""The demo's daily job: a first run, and a second with every fit stored. Whole commands are timed.

python benchmarks/bench_daily.py [RUNS]
"""

import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dated

from raytrain.machine.detect import detect

ROOT = Path(__file__).parents[1]


def run(store: Path) -> tuple[float, dict[str, float]]:
    """Seconds of the whole command, and what its summary says."""
    command = [sys.executable, "-m", "raytrain.jobs.daily", "--config", "configs/demo.yaml", "--store", str(store)]
    began = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return seconds, json.loads((store / "latest" / "summary.json").read_text())


def main() -> None:
    """Measure and write the dated file."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    first, second, used, bound = [], [], [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            seconds, summary = run(Path(folder))
            first.append(seconds)
            used.append(summary["utilisation"])
            bound.append(summary["lower_bound_s"])
            seconds, summary = run(Path(folder))
            assert summary["fits"]["cached"] == summary["fits"]["total"]
            second.append(seconds)
    machine = detect()
    text = f"""# The demo's daily job, {datetime.date.today()}
Machine: {machine.name} ({machine.pcores} cores). Runs: {runs}. Whole commands; medians, with (min, max).
The slot is emulated on a CPU core: no accelerator here.

| figure | value |
|---|---|
| first run, {summary["fits"]["total"]} fits | {_spread(first)} s |
| CPU seconds of the fits / cores (lower bound) | {_spread(bound)} s |
| cores busy while fits ran | {100 * statistics.median(used):.0f} % |
| second run, every fit stored | {_spread(second)} s |
| second run / first run | {statistics.median(second) / statistics.median(first):.2f} |
"""
    dated.write("daily", text)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}, {max(values):.1f})"


if __name__ == "__main__":
    main()
