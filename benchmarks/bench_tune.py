"""A search with ASHA and one without, on the demo: fit seconds, trials stopped early, and both winners.

python benchmarks/bench_tune.py [TRIALS] [FAMILY] [TARGET]
"""

import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dated

from raytrain.machine.detect import detect

ROOT = Path(__file__).parents[1]


SEEDS = (1, 2, 3)
"""Searches with and without pruning visit other parameters, of another cost: several of each are added up."""


def run(trials: int, family: str, target: str, seed: int, *, pruning: bool) -> dict[str, Any]:
    """One search in a process and a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        command = [sys.executable, "-m", "raytrain.jobs.tune", "--config", "configs/demo.yaml", "--store", folder]
        command += ["--family", family, "--target", target, "--trials", str(trials), "--budget", "2h"]
        command += ["--folds.num_folds", "6", "--tracking.mlflow", "false", "--cluster.dashboard", "false"]
        command += ["--tune.seed", str(seed), "--tune.pruning", str(pruning).lower()]
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        answer = json.loads((store / "tuned" / f"{family}-{target}.json").read_text())
        fits = [json.loads(path.read_text()) for path in store.glob("fits/*/[!.]*/result.json")]
    searched = set(answer["search_folds"])
    own = [one for one in fits if one["spec"]["family"] == family and one["spec"]["fold"]["name"] in searched]
    spent = sum(one["spent"]["cpu_s"] for one in own)
    return answer | {"seconds": seconds, "fits": len(own), "cpu_s": spent}


def main() -> None:
    """Measure and write the dated file."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    family = sys.argv[2] if len(sys.argv) > 2 else "lightgbm_quantile"
    target = sys.argv[3] if len(sys.argv) > 3 else "return_1w"
    both = [[run(trials, family, target, seed, pruning=pruning) for seed in SEEDS] for pruning in (True, False)]
    rows = {
        "trials stopped early": lambda one: str(one["trials"]["stopped early"]),
        "fits on the search folds": lambda one: str(one["fits"]),
        "CPU seconds of those fits": lambda one: f"{one['cpu_s']:.1f}",
        "whole command, s": lambda one: f"{one['seconds']:.0f}",
        "skill of the winner, search folds, %": lambda one: f"{100 * one['value']:.2f}",
        "skill of the default, search folds, %": lambda one: f"{100 * one['default_value']:.2f}",
        "answer on the folds held out": _answer,
    }
    table = [f"| {name} | {' | '.join(', '.join(map(tell, ones)) for ones in both)} |" for name, tell in rows.items()]
    machine, num_folds = detect(), len(both[0][0]["search_folds"])
    less = ", ".join(f"{100 * _less(both, name):.0f} % fewer {words}" for name, words in _LESS.items())
    text = "\n".join(
        [
            f"# Searching {family} for {target} on the demo, {datetime.date.today()}",
            f"Machine: {machine.name} ({machine.pcores} cores). {trials} trials, {num_folds} folds searched, by",
            f"searches of the seeds {', '.join(map(str, SEEDS))}. With ASHA {less}, over all of them.",
            "",
            "| figure | ASHA | no pruning |",
            "|---|---|---|",
            *table,
            "",
        ]
    )
    dated.write("tune", text)


_LESS = {"fits": "fits", "cpu_s": "CPU seconds"}


def _less(both: list[list[dict[str, Any]]], name: str) -> float:
    pruned, whole = (sum(one[name] for one in ones) for ones in both)
    return float(1 - pruned / whole)


def _answer(one: dict[str, Any]) -> str:
    gain = one["holdout"]
    if gain is None or gain["low"] is None:
        return str(one["answer"])
    return f"{one['answer']} ({100 * gain['low']:.2f} to {100 * gain['high']:.2f} %)"


if __name__ == "__main__":
    main()
