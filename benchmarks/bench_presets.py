"""What the presets of the CNN+GRU family cost and win against legacy, on the SPY days, in one run.

python benchmarks/bench_presets.py DATA_FOLDER [--folds 2] [--seeds 42 43]

Every preset fits the same folds and seeds, one after another in this process, on one thread. Speed is legacy's time
over the preset's, quality is legacy's loss over the preset's, both fold by fold and seed by seed; medians are printed.
All presets see targets divided by the same volatility forecast, so that only the nets differ.
"""

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import dated
import numpy as np

from raytrain.config import load
from raytrain.engines.process import engine_env
from raytrain.machine.detect import detect
from raytrain.pipeline import Prepared, prepare
from raytrain.run_config import RunConfig
from raytrain.work.fit import Control, run_fit
from raytrain.work.plan import PlannedFit

ROOT = Path(__file__).parents[1]
PRESETS = ("legacy", "fast", "balanced", "quality")
EXPECTED = {"fast": ("2-3", "90-95 %"), "balanced": ("1.5-2", "95-100 %"), "quality": ("1", "100-105 %")}
OVERLAY = """
data: {kind: parquet, price: close, high: high, low: low}
targets: [{kind: return, horizon: 5, label: 1w}]
families: [cnn_gru]
params: {cnn_gru: {scale: har}}
"""


@dataclass(frozen=True)
class Measured:
    """One fit."""

    seconds: float
    loss: float
    """Mean pinball loss on the test block."""


def measure(run: Prepared, fit: PlannedFit) -> Measured:
    """Fit and judge."""
    result = run_fit(fit.spec, run.dataset, Control(threads=1))
    dataset, levels = run.dataset, np.array(fit.spec.quantiles)
    dates = dataset.date[np.isin(dataset.date, result.predictions["date"].dt.timestamp("ns").to_numpy())]
    y = dataset.y(fit.spec.target)[np.isin(dataset.date, dates)].astype(float)
    predicted = result.predictions.select(f"q{level:g}" for level in fit.spec.quantiles).to_numpy()
    known = np.isfinite(y)
    error = y[known, None] - predicted[known]
    return Measured(result.cost.cpu_s, float(np.maximum(levels * error, (levels - 1) * error).mean()))


def all_of(preset: str, data: Path, folds: int, seeds: list[int], overlay: Path) -> list[Measured]:
    """Every fold and seed of a preset."""
    options = ["--preset", preset, "--presets", str(ROOT / "configs" / "presets"), "--plan", "none"]
    options += ["--data.path", str(data / "spy" / "spy_daily.parquet"), "--folds.num_folds", str(folds)]
    options += ["--seeds", str(seeds), "--machines", str(ROOT / "configs" / "machines")]
    run = prepare(load(RunConfig, [overlay], options))
    found = []
    for fit in run.plan.fits:
        found.append(measure(run, fit))
        print(f"{preset} {fit.spec.label}: {found[-1].seconds:.0f} s, loss {found[-1].loss:.6f}", flush=True)
    return found


def table(measured: dict[str, list[Measured]]) -> list[str]:
    """The rows of the report."""
    legacy, rows = measured["legacy"], []
    for preset, fits in measured.items():
        speed = statistics.median(one.seconds / other.seconds for one, other in zip(legacy, fits, strict=True))
        quality = statistics.median(one.loss / other.loss for one, other in zip(legacy, fits, strict=True))
        seconds, loss = (statistics.median(getattr(fit, name) for fit in fits) for name in ("seconds", "loss"))
        want_speed, want_quality = EXPECTED.get(preset, ("1", "100 %"))
        time, win = f"{seconds:.0f} | {speed:.2f} | {want_speed}", f"{100 * quality:.1f} % | {want_quality}"
        rows.append(f"| {preset} | {time} | {loss:.6f} | {win} |")
    return rows


def main() -> None:
    """Measure and write the dated file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43])
    given = parser.parse_args()
    if given.data is None:
        print("bench_presets: skipped, it needs the folder of the development data as its argument")
        return
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder) / "presets.yaml"
        overlay.write_text(OVERLAY)
        measured = {name: all_of(name, given.data, given.folds, given.seeds, overlay) for name in PRESETS}
    today, machine = datetime.date.today(), detect().name
    lines = [
        f"# Presets of the CNN+GRU family, {today}",
        f"Machine: {machine}. SPY days, 5 rows ahead, {given.folds} folds x {len(given.seeds)} seeds, CPU seconds",
        "on one thread (the machine is shared, so wall time says little), medians. Speed and quality are legacy's time",
        "and loss over the preset's, fit by fit; beside each what was hoped for.",
        "",
        "| preset | CPU s | speed | hoped | pinball loss | quality | hoped |",
        "|---|---|---|---|---|---|---|",
        *table(measured),
    ]
    text = "\n".join(lines) + "\n"
    dated.write("presets", text)


if __name__ == "__main__":
    wanted = engine_env("torch", 1, "cpu")
    if wanted.items() - os.environ.items():
        # Thread caps must stand before numpy and torch load.
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=os.environ | wanted, check=False).returncode)
    main()
