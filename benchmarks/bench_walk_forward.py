"""A walk-forward of LightGBM quantiles: raytrain beside the loops that people write by hand, in one run.

The limit is the CPU time of the hand-written fits at one thread, spread over the cores.

python benchmarks/bench_walk_forward.py [--repeats 3] [--seeds 1] [--rounds 200] [--rows 6000] [--features 150]
                                        [--only WAY ...] [--default-threads] [--no-scaling]

`--seeds 10` makes ten times as many fits; `--default-threads` adds joblib with the library's own threads: minutes.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dated
import numpy as np
import polars as pl

from raytrain.data import DataConfig
from raytrain.data.frame import DATE, make_frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, test_rows, walk_forward
from raytrain.machine.detect import detect
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Plan, Recipes, make_plan

ROOT = Path(__file__).parents[1]
HORIZONS, LEVELS = (1, 5, 20), (0.1, 0.5, 0.9)
FOLDS = FoldsConfig(test_span="1y", num_folds=5)
LEARNER = {
    "num_leaves": 31,
    "max_depth": 10,
    "learning_rate": 0.05,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 5,
}
ONE_THREAD = "serial, one thread"
COLD, WARM = "raytrain, cold cluster", "raytrain, warm cluster"
WAYS = {
    ONE_THREAD: "serial",
    "serial, the library's default threads": "serial_default",
    "serial, all cores": "serial_all",
    "joblib, one thread each": "joblib",
    "raw Ray tasks, one thread each": "ray",
    "mlforecast cross_validation": "mlforecast",
    WARM: "raytrain",
}
OVERSUBSCRIBED = "joblib, the library's default threads"
BY_HAND = WAYS.keys() - {ONE_THREAD, WARM}
POOLS = ("joblib", "ray", "raytrain")
"""The ways that fill several cores with fits of one thread."""
TARGET_LEAD, TARGET_LIMIT = 1.1, 1.1
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""What keeps a core busy until the benchmark ends, however it ends."""


def random_table(rows: int, features: int) -> pl.DataFrame:
    """One series of business days; half of the columns wander, half are noise, some begin late."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features))
    x[:, ::2] = np.cumsum(x[:, ::2], axis=0) * 0.1
    x[: rows // 20, ::7] = np.nan
    noise = rng.standard_normal(rows)
    change = 0.01 * (0.1 * np.roll(x[:, 1], 1) + noise)
    days = pl.date_range(pl.date(2000, 1, 3), pl.date(2060, 1, 1), "1d", eager=True)
    dates = days.filter(days.dt.weekday() <= 5).head(rows)
    columns = {f"x{number}": x[:, number] for number in range(features)}
    return pl.DataFrame({"series_id": "A", "date": dates, "close": 100 * np.exp(np.cumsum(change)), **columns})


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Write what all ways read: the dataset, and each fit's rows as plain arrays."""
    frame = make_frame(random_table(options.rows, options.features), DataConfig(), "a random walk", "walk")
    columns = [f"x{number}" for number in range(options.features)]
    features = build(frame, FeaturesConfig.model_validate({"steps": [{"step": "as_is", "columns": columns}]}))
    targets = [TargetConfig(horizon=horizon) for horizon in HORIZONS]
    dataset = Dataset.build(frame, features, targets)
    path = dataset.save(folder / "prepared")
    arrays = {"x": dataset.x}
    fits = []
    for target in targets:
        arrays[f"y-{target.name}"] = dataset.y(target.name).astype(np.float64)
        for fold in walk_forward(frame.table[DATE].filter(pl.Series(features.usable)), FOLDS):
            name = f"{target.name}-{fold.name}"
            arrays[f"train-{name}"] = np.flatnonzero(dataset.train_rows(fold, target.name))
            arrays[f"test-{name}"] = np.flatnonzero(dataset.usable & test_rows(fold, dataset.date))
            fits += [[target.name, fold.name, level, 42 + seed] for seed in range(options.seeds) for level in LEVELS]
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    about = {"fits": fits, "dataset": str(path), "rounds": options.rounds, "seeds": options.seeds}
    (folder / "about.json").write_text(json.dumps(about))


def plan_of(folder: Path, first_seed: int = 42) -> tuple[Path, Plan]:
    """The same fits as raytrain plans them: one for the three levels of a target, a fold and a seed."""
    about = json.loads((folder / "about.json").read_text())
    dataset = Dataset.open(Path(about["dataset"]))
    params = {**LEARNER, "num_rounds": about["rounds"], "valid_share": 0, "scale": "none"}
    recipes = Recipes.make(
        ("lightgbm_quantile",),
        {"lightgbm_quantile": params},
        targets=tuple(TargetConfig(horizon=horizon) for horizon in HORIZONS),
        quantiles=LEVELS,
        seeds=tuple(range(first_seed, first_seed + about["seeds"])),
        slot_device="cpu",
    )
    dates = pl.Series(dataset.date[dataset.usable]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
    return Path(about["dataset"]), make_plan(dataset, walk_forward(dates, FOLDS), recipes)


def fit_by_hand(folder: str, fit: list[Any], threads: int | None) -> Any:
    """One quantile of one target on one fold, as people write it."""
    import lightgbm

    target, fold, level, seed = fit
    x, y, train, test = (
        np.load(f"{folder}/{name}.npy", mmap_mode="r")
        for name in ("x", f"y-{target}", f"train-{target}-{fold}", f"test-{target}-{fold}")
    )
    params = {**LEARNER, "objective": "quantile", "alpha": level, "seed": seed, "verbosity": -1}
    if threads is not None:
        params["num_threads"] = threads
    rounds = json.loads(Path(folder, "about.json").read_text())["rounds"]
    booster = lightgbm.train(params, lightgbm.Dataset(x[train], y[train]), rounds)
    return booster.predict(x[test], num_threads=threads or 0).astype(np.float32)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def serial(folder: Path, threads: int | None) -> dict[str, Any]:
    """One fit after another."""
    fits = json.loads((folder / "about.json").read_text())["fits"]
    fit_by_hand(str(folder), [*fits[0][:3], 0], threads)  # the library is loaded before the clock starts
    used = time.process_time()
    seconds, found = timed(lambda: [fit_by_hand(str(folder), fit, threads) for fit in fits])
    if threads == 1:
        keep(folder, "by-hand", fits, found)
    return {"warm": seconds, "cpu": time.process_time() - used}


def joblib_way(folder: Path, cores: int, threads: int | None) -> dict[str, Any]:
    """A pool of processes; the first time it starts them and they load the library."""
    import joblib  # noqa: TID251 - it is measured, not used

    fits = json.loads((folder / "about.json").read_text())["fits"]
    calls = [joblib.delayed(fit_by_hand)(str(folder), fit, threads) for fit in fits]
    with joblib.Parallel(n_jobs=cores) as pool:
        cold, _ = timed(lambda: pool(calls))
        warm, _ = timed(lambda: pool(calls))
    return {"cold": cold, "warm": warm}


def raw_ray(folder: Path, cores: int) -> dict[str, Any]:
    """A task for each fit, all submitted at once."""
    import ray

    fits = json.loads((folder / "about.json").read_text())["fits"]
    began = time.perf_counter()
    env = {"env_vars": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}}
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, runtime_env=env)
    try:
        task = ray.remote(num_cpus=1)(fit_by_hand)
        ray.get([task.remote(str(folder), fit, 1) for fit in fits])
        cold = time.perf_counter() - began
        warm, _ = timed(lambda: ray.get([task.remote(str(folder), fit, 1) for fit in fits]))
    finally:
        ray.shutdown()
    return {"cold": cold, "warm": warm}


def mlforecast_way(folder: Path, cores: int) -> dict[str, Any]:
    """Nixtla's walk-forward: direct models for the horizons, refitted on five expanding windows of a year.

    It forecasts the `h` rows after each cut-off instead of a whole block; what is trained is the same.
    """
    import lightgbm
    import pandas as pd
    from mlforecast import MLForecast

    about = json.loads((folder / "about.json").read_text())
    x, y = np.load(folder / "x.npy"), np.load(folder / f"y-return_{HORIZONS[0]}r.npy")
    table = pd.DataFrame(x, columns=[f"x{number}" for number in range(x.shape[1])])
    table = table.assign(unique_id="A", ds=np.arange(len(x)), y=np.nan_to_num(y))
    common = {**LEARNER, "objective": "quantile", "n_estimators": about["rounds"], "verbosity": -1, "n_jobs": cores}
    seconds = 0.0
    for seed in range(about["seeds"]):
        models = {str(level): lightgbm.LGBMRegressor(alpha=level, seed=42 + seed, **common) for level in LEVELS}
        walk = MLForecast(models=models, freq=1, lags=[1])
        windows = {"n_windows": FOLDS.num_folds, "step_size": 250, "h": max(HORIZONS), "horizons": list(HORIZONS)}
        began = time.perf_counter()
        walk.cross_validation(table, **windows, static_features=[], dropna=False)
        seconds += time.perf_counter() - began
    return {"warm": seconds}


def raytrain_way(folder: Path, cores: int) -> dict[str, Any]:
    """The product: a first set of fits starts the cluster and its workers, a second finds them running."""
    from raytrain.cluster.config import ClusterConfig
    from raytrain.cluster.runner import Runner
    from raytrain.machine.sensors import find_heat_sensor
    from raytrain.work.store import ResultStore

    dataset, first = plan_of(folder, first_seed=1000)
    plan = plan_of(folder)[1]
    with tempfile.TemporaryDirectory() as place:
        store = ResultStore(Path(place) / "store")
        store.root.mkdir()
        runner = Runner(
            profile=detect().model_copy(update={"pcores": cores, "thermal_tokens": cores}),
            config=ClusterConfig(dashboard=False),
            store=store,
            dataset=dataset,
            stories=Path(place),
            sensor=find_heat_sensor(),
            watch=lambda status: None,
            stop_requested=lambda: False,
            announce=lambda cluster: None,
        )
        began = time.perf_counter()
        with runner:
            runner.run(first.fits)
            cold = time.perf_counter() - began
            used = time.process_time()
            warm, _ = timed(lambda: runner.run(plan.fits))
            used = time.process_time() - used
        assert runner.tally.count("ok") == 2 * len(plan.fits), runner.tally.failures
        columns = [f"q{level:g}" for level in LEVELS]
        found = [store.predictions(fit.spec.key).select(columns).to_numpy() for fit in plan.fits]
        rows = runner.tally.rows[len(plan.fits) :]
    fits = [[fit.spec.target, fit.spec.fold.name, level, fit.spec.seed] for fit in plan.fits for level in LEVELS]
    keep(folder, "raytrain", fits, [one[:, index] for one in found for index in range(len(LEVELS))])
    return {
        "cold": cold,
        "warm": warm,
        "cpu": sum(row["cpu_s"] for row in rows),
        "driver": used,
        "wide": sum(row["threads"] > 1 for row in rows),
    }


def keep(folder: Path, name: str, fits: Sequence[Sequence[Any]], found: Sequence[Any]) -> None:
    """What was predicted, fit by fit."""
    np.savez(folder / f"{name}.npz", **{"|".join(map(str, fit)): one for fit, one in zip(fits, found, strict=True)})


def same_bits(folder: Path) -> bool:
    """Whether raytrain has predicted what the hand-written loop has; levels that cross are sorted, as it does."""
    by_hand, own = (np.load(folder / f"{name}.npz") for name in ("by-hand", "raytrain"))
    groups: dict[str, list[str]] = {}
    for name in by_hand:
        target, fold, _, seed = name.split("|")
        groups.setdefault(f"{target} {fold} {seed}", []).append(name)
    together = [[np.stack([kept[one] for one in names]) for kept in (by_hand, own)] for names in groups.values()]
    return by_hand.keys() == own.keys() and all(np.array_equal(np.sort(a, axis=0), b) for a, b in together)


def child(way: str, folder: Path, cores: int) -> dict[str, Any]:
    """One way, in this process."""
    return {
        "serial": lambda: serial(folder, 1),
        "serial_default": lambda: serial(folder, None),
        "serial_all": lambda: serial(folder, cores),
        "joblib": lambda: joblib_way(folder, cores, 1),
        "joblib_default": lambda: joblib_way(folder, cores, None),
        "ray": lambda: raw_ray(folder, cores),
        "mlforecast": lambda: mlforecast_way(folder, cores),
        "raytrain": lambda: raytrain_way(folder, cores),
    }[way]()


@dataclass
class Times:
    """What was measured of the ways, repeat by repeat."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def take(self, name: str, told: dict[str, Any]) -> None:
        """Note one run of a way; the first use of a pool of processes is a way of its own."""
        for fact, value in told.items():
            self.facts.setdefault(name, {}).setdefault(fact, []).append(value)
        cold = COLD if name == WARM else f"{name}, first use"
        if "cold" in told:
            self.seconds.setdefault(cold, []).append(told["cold"])
        self.seconds.setdefault(name, []).append(told["warm"])

    def median(self, name: str) -> float:
        """Seconds of a way."""
        return statistics.median(self.seconds[name])

    def fact(self, name: str, fact: str) -> float | None:
        """Median of something else that a way told; None where it did not run."""
        values = self.facts.get(name, {}).get(fact)
        return statistics.median(values) if values else None

    @property
    def best_by_hand(self) -> str:
        """The quickest of the ways that are not raytrain's, its processes warm."""
        return min(BY_HAND & self.seconds.keys(), key=self.median)

    @property
    def lead(self) -> float | None:
        """Seconds of the best of all others over raytrain's, warm."""
        if WARM not in self.seconds or not BY_HAND & self.seconds.keys():
            return None
        return self.median(self.best_by_hand) / self.median(WARM)


def run(way: str, folder: Path, cores: int) -> dict[str, Any]:
    """A way in a process of its own, with the threads of its libraries left alone."""
    own = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, __file__, "--child", way, str(folder), str(cores)]
    done = subprocess.run(command, env=own, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def compare(ways: dict[str, str], folder: Path, cores: int, repeats: int) -> Times:
    """Every way in turn, `repeats` times."""
    times = Times()
    for _ in range(repeats):
        for name, way in ways.items():
            told = run(way, folder, cores)
            times.take(name, told)
            print(f"{name}: { {fact: round(value, 2) for fact, value in told.items()} }", flush=True)
    return times


@contextmanager
def busy_process() -> Iterator[None]:
    """Another program that wants a whole core, for as long as the `with` lasts."""
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        try:
            yield
        finally:
            process.kill()


def table_of(times: Times, limit: float | None) -> str:
    """Seconds, the ratio to the limit and to the best of the others."""
    best = times.median(times.best_by_hand) if BY_HAND & times.seconds.keys() else None
    lines = ["| way | seconds (min, max) | x limit | x best of the others |", "|---|---|---|---|"]
    for name, seconds in times.seconds.items():
        middle = statistics.median(seconds)
        ratios = (f"{middle / base:.2f}" if base else "-" for base in (limit, best))
        lines.append(f"| {name} | {middle:.1f} ({min(seconds):.1f}, {max(seconds):.1f}) | {' | '.join(ratios)} |")
    return "\n".join(lines)


def scaling(ways: dict[str, str], folder: Path, cores: int) -> str:
    """Seconds from one core to all."""
    names = [name for name, way in ways.items() if way in POOLS]
    lines = [f"| cores | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for used in range(1, cores + 1):
        seconds = [run(ways[name], folder, used)["warm"] for name in names]
        lines.append(f"| {used} | {' | '.join(f'{one:.1f} s' for one in seconds)} |")
    return "\n".join(lines)


def report(folder: Path, options: argparse.Namespace) -> str:
    """Measure everything and say it."""
    machine = detect()
    cores = machine.pcores
    ways = {name: way for name, way in WAYS.items() if not options.only or way in options.only}
    left_out = ""
    if "mlforecast" in ways.values() and find_spec("mlforecast") is None:
        ways = {name: way for name, way in ways.items() if way != "mlforecast"}
        left_out = "mlforecast is left out: it is not installed here (`pip install mlforecast`; never a dependency).\n"
    if options.default_threads:
        ways[OVERSUBSCRIBED] = "joblib_default"
    alone = compare(ways, folder, cores, options.repeats)
    with busy_process():
        beside = compare({name: way for name, way in ways.items() if way in POOLS}, folder, cores, options.repeats)
    cpu, own = alone.fact(ONE_THREAD, "cpu"), alone.fact(WARM, "cpu")
    limit = None if cpu is None else cpu / cores
    to_limit = None if limit is None or WARM not in ways else alone.median(WARM) / limit
    same = same_bits(folder) if ONE_THREAD in ways and WARM in ways else None
    num_fits = FOLDS.num_folds * len(HORIZONS) * len(LEVELS) * options.seeds
    return f"""# Walk-forward of LightGBM quantiles, {datetime.date.today()}
Machine: {machine.name} ({cores} cores). {FOLDS.num_folds} expanding folds x {len(HORIZONS)} horizons x {len(LEVELS)}
quantiles x {options.seeds} seed(s) = {num_fits} boosters of {options.rounds} rounds on {options.rows} x
{options.features} random values. Repeats: {options.repeats}; medians, the ways take turns.
{left_out}
CPU seconds of the fits at one thread: by hand {_told(cpu, 1)}, raytrain {_told(own, 1)}.
The limit is the former over the cores: {_told(limit, 1)} s.

{table_of(alone, limit)}

| raytrain, warm | value | target |
|---|---|---|
| predictions equal the hand-written loop's to the last bit | {same} | True |
| x as quick as the best of the others | {_told(alone.lead)} | {TARGET_LEAD} |
| x the limit | {_told(to_limit)} | {TARGET_LIMIT} |
| x as quick as the best of the others, beside another busy process | {_told(beside.lead)} | {_told(alone.lead)} |

The levels of a target share one binned table. The horizons of a fold do not: their purges leave other training rows, so
their bins differ, and bins of other rows would be other predictions. Levels that cross are sorted before comparing.

## With another busy process
{table_of(beside, None)}
{"" if options.no_scaling else _scaling_text(ways, folder, cores)}"""


def _scaling_text(ways: dict[str, str], folder: Path, cores: int) -> str:
    return f"\n## From one core to all\n{scaling(ways, folder, cores)}\n"


def _told(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> None:
    """Measure and write the dated file."""
    parser = argparse.ArgumentParser()
    for name, default in {"repeats": 3, "seeds": 1, "rounds": 200, "rows": 6000, "features": 150}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", nargs="*", choices=sorted(WAYS.values()))
    parser.add_argument("--default-threads", action="store_true", help="also joblib with oversubscribed cores: minutes")
    parser.add_argument("--no-scaling", action="store_true")
    parser.add_argument("--out", type=Path, default=dated.RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        prepare(Path(place), options)
        text = report(Path(place), options)
    often = f"-x{options.seeds}" if options.seeds > 1 else ""
    dated.write(f"walk-forward{often}", text, options.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        main()
