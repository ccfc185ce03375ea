"""The daily job on one more day of data, against its first run and against a run of that day from nothing.

The families and targets of configs/daily.yaml with their default parameters, and ten yearly folds, on the demo's bars:
S&P 500 and NASDAQ up to the middle of 2018, so that the newest block is open. Whole commands are timed. The forecasts
of the second day must be those of a run from nothing, to the bit; the script fails otherwise.

python benchmarks/bench_second_day.py [RUNS] [short]

`short` keeps a few quick families, to see that everything works.
"""

import datetime
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import dated
import polars as pl

from raytrain.machine.detect import detect
from raytrain.work.store import ResultStore

ROOT = Path(__file__).parents[1]
DAYS = ("2018-06-28", "2018-06-29")
FAMILIES = "naive har gjr ridge lightgbm lightgbm_quantile xgboost ngboost gru mlp ensemble".split()
SHORT = "naive har gjr ridge lightgbm_quantile ensemble".split()
TARGETS = [
    {"kind": "return", "horizon": rows, "label": label}
    for label, rows in (("1d", 1), ("1w", 5), ("1m", 21), ("3m", 63))
]
NUM_FOLDS = 10
TARGET_SHARE = 0.05


@dataclass(frozen=True)
class Run:
    """One whole command."""

    wall_s: float
    """Of the command."""
    fits_cpu_s: float
    """CPU seconds of all fits that ran, the import of their engines included."""
    newest_cpu_s: float
    """Of these, what the forecast of the newest rows took, which is trained on all rows."""
    starts_cpu_s: float
    """Of these, what the first fits of the processes took, which load an engine each."""
    trained: int
    forecast: int
    """Fits whose model was kept, so that only the forecast was made."""
    found: int
    """Fits whose result was stored."""
    predictions: pl.DataFrame
    newest: pl.DataFrame


def run(store: Path, day: str, families: list[str]) -> Run:
    """The daily job with the rows up to a day."""
    options = ["--config", "configs/demo.yaml", "--store", str(store), "--data.last_date", day, "--plan", "none"]
    options += ["--folds.num_folds", str(NUM_FOLDS), "--families", json.dumps(families)]
    options += ["--targets", json.dumps(TARGETS), "--tracking.mlflow", "false"]
    # The demo turns every cost down; here families keep the parameters that they have by default.
    options += ["--params", '{"lightgbm": {}, "xgboost": {}, "ngboost": {}}', "--cluster.dashboard", "false"]
    began = time.perf_counter()
    command = [sys.executable, "-m", "raytrain.jobs.daily", *options]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - began
    latest = store / "latest"
    fits = pl.read_parquet(latest / "fits.parquet")
    ran = fits.filter(pl.col("status") == "ok")
    results = [ResultStore(store).result(key) for key in ran["key"]]
    reused = sum(result["reused_model"] for result in results)
    return Run(
        wall_s=wall_s,
        fits_cpu_s=json.loads((latest / "summary.json").read_text())["cpu_s"],
        newest_cpu_s=ran.filter(pl.col("fold") == "latest")["cpu_s"].sum(),
        starts_cpu_s=sum(result["spent"]["cpu_s"] for result in results if result["starts_process"]),
        trained=ran.height - reused,
        forecast=reused,
        found=fits.height - ran.height,
        predictions=pl.read_parquet(latest / "predictions.parquet").drop("key"),
        newest=pl.read_parquet(latest / "forecast.parquet"),
    )


def main() -> None:
    """Measure and write the dated file."""
    families = SHORT if "short" in sys.argv else FAMILIES
    runs = next((int(word) for word in sys.argv[1:] if word.isdigit()), 1)
    ways: dict[str, list[Run]] = {"first day": [], "one more day": [], "the same day again": [], "from nothing": []}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            for (way, done), day in zip(ways.items(), (DAYS[0], DAYS[1], DAYS[1], DAYS[1]), strict=True):
                done.append(run(Path(other if way == "from nothing" else one), day, families))
        second, fresh = ways["one more day"][-1], ways["from nothing"][-1]
        assert second.predictions.equals(fresh.predictions), "the second day must forecast what a run from nothing does"
        assert second.newest.equals(fresh.newest)
    text = _text(ways, families)
    if families is FAMILIES:
        dated.write("second-day", text)
    else:
        print(text)


def _text(ways: dict[str, list[Run]], families: list[str]) -> str:
    machine, first = detect(), ways["first day"]
    head = f"""# One more day of data, {datetime.date.today()}
Machine: {machine.name} ({machine.pcores} cores). Runs: {len(first)}. Whole commands; medians, with (min, max).
{len(families)} families x {len(TARGETS)} targets x {NUM_FOLDS} yearly folds on two series, the newest fold open.
The slot's device is {machine.slot}.

| run | fits trained | only forecast | found | CPU s of the fits | for the newest rows | first of a process | s in all |
|---|---|---|---|---|---|---|---|
"""
    rows = ""
    for way, done in ways.items():
        counts = " | ".join(str(number) for number in (done[-1].trained, done[-1].forecast, done[-1].found))
        shown = ("fits_cpu_s", "newest_cpu_s", "starts_cpu_s", "wall_s")
        told = (_spread([getattr(one, what) for one in done]) for what in shown)
        rows += f"| {way} | {counts} | {' | '.join(told)} |\n"
    shares = [_share(ways, what) for what in ("fits_cpu_s", "wall_s")]
    return f"""{head}{rows}
| one more day / first day | share | target |
|---|---|---|
| CPU seconds of the fits | {100 * shares[0]:.1f} % | {100 * TARGET_SHARE:.0f} % |
| the whole command | {100 * shares[1]:.1f} % | {100 * TARGET_SHARE:.0f} % |

What trains on the second day: the best family of each target on all rows, which have become more, and the ensembles,
whose members have forecast more; blocks that are still open are only forecast, by the models of the first day. The
first fit of a process loads its engine, and takes most of the second day's CPU time: one process for each engine that
has something to forecast, and one more for the newest rows where that is a net. The whole command holds what does not
depend on the number of fits: reading and checking the data, Ray's start, scores, report. So the shares fall as the
first day grows.
The forecasts of the second day equal those of the run from nothing to the bit.
"""


def _share(ways: dict[str, list[Run]], what: str) -> float:
    pairs = zip(ways["one more day"], ways["first day"], strict=True)
    return statistics.median(getattr(second, what) / getattr(first, what) for second, first in pairs)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}, {max(values):.1f})"


if __name__ == "__main__":
    main()
