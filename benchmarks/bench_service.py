"""What the local service costs against calling the model directly, in one run.

python benchmarks/bench_service.py [--requests 200] [--clients 4]

One LightGBM bundle of two series, as it is and as a graph. Each request sends the rows that a forecast needs; clients
keep their connection. Directly means `Forecaster.forecast` on the same table in
this process: the difference is HTTP, JSON and checks.
"""

import argparse
import datetime
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dated
import numpy as np
import polars as pl

from raytrain.data import DataConfig
from raytrain.data.frame import DATE, make_frame
from raytrain.deploy.bundle import write_bundle
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Forecaster
from raytrain.deploy.invented import invented_rows
from raytrain.deploy.local import LocalConfig, run_local
from raytrain.deploy.smoke import as_columns
from raytrain.engines.process import engine_env
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, latest
from raytrain.machine.detect import detect
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.plan import Recipes, make_plan
from raytrain.work.store import ResultStore

ROOT = Path(__file__).parents[1]
ROWS = 1500


@dataclass(frozen=True)
class Measured:
    """Requests of one kind."""

    seconds: list[float]
    """Of each."""
    whole: float
    """From the first to the end of the last."""

    def row(self, name: str) -> str:
        """Of the report."""
        p50, p99 = (1000 * float(np.quantile(self.seconds, level)) for level in (0.5, 0.99))
        return f"| {name} | {len(self.seconds) / self.whole:.0f} | {p50:.1f} | {p99:.1f} |"


def make_bundle(folder: Path) -> Bundle:
    """A bundle of two random walks."""
    rng = np.random.default_rng(1)
    days = pl.date_range(pl.date(2015, 1, 1), pl.date(2035, 1, 1), "1d", eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(ROWS)
    walks = {name: 100 * np.exp(np.cumsum(rng.normal(0, 0.01, ROWS))) for name in "AB"}
    table = pl.concat(pl.DataFrame({"series_id": name, "date": days, "close": walks[name]}) for name in walks)
    data, features, targets = DataConfig(kind="parquet"), FeaturesConfig(), (TargetConfig(horizon=5, label="1w"),)
    frame = make_frame(table, data, "the benchmark", "bench")
    dataset = Dataset.build(frame, build(frame, features), targets)
    made = Recipes.make(
        ["lightgbm_quantile"], {}, targets=targets, quantiles=(0.1, 0.5, 0.9), seeds=(42,), slot_device="cpu"
    )
    (fit,) = make_plan(dataset, [latest(frame.table[DATE], FoldsConfig())], made).fits
    store = ResultStore(folder / "store")
    result = run_fit(fit.spec, dataset, Control(), store)
    store.write(fit.spec.key, result.predictions, result.facts(fit.spec))
    how = {"store": store, "dataset": dataset, "data": data, "features": features}
    return Bundle.open(write_bundle(folder / "bundle", spec=fit.spec, **how))


def measure(call: Callable[[], object], count: int) -> Measured:
    """One after another, after a few that do not count."""
    for _ in range(5):
        call()
    seconds = []
    begin = time.perf_counter()
    for _ in range(count):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return Measured(seconds, time.perf_counter() - begin)


def over_http(url: str, body: bytes, count: int, clients: int) -> Measured:
    """Several clients at once."""
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda _: _client(url, body, count // clients), range(clients)))
    return Measured([one for part in found for one in part.seconds], max(part.whole for part in found))


def _client(url: str, body: bytes, count: int) -> Measured:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def ask() -> None:
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told

    try:
        return measure(ask, count)
    finally:
        connection.close()


def _pair(forecaster: Forecaster, table: pl.DataFrame, url: str, body: bytes) -> tuple[Measured, Measured]:
    """Twenty calls, then twenty requests."""
    return measure(lambda: forecaster.forecast(table), 20), over_http(url, body, 20, 1)


def _joined(parts: list[Measured]) -> Measured:
    return Measured([one for part in parts for one in part.seconds], sum(part.whole for part in parts))


def main() -> None:
    """Measure and write the dated file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    rows, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder))
        table = invented_rows(bundle)
        body = json.dumps({"columns": as_columns(table)}).encode()
        for runtime in ("native", "onnx"):
            with (
                Forecaster.load(bundle, runtime) as forecaster,
                run_local(bundle, runtime, LocalConfig(port=0)) as running,
            ):
                # In turns, as what else the machine does comes and goes.
                pairs = [_pair(forecaster, table, running.url, body) for _ in range(given.requests // 20)]
                many = over_http(running.url, body, given.requests, given.clients)
            direct, alone = (_joined([pair[place] for pair in pairs]) for place in (0, 1))
            rows += [
                direct.row(f"{runtime}, directly"),
                alone.row(f"{runtime}, service, 1 client"),
                many.row(f"{runtime}, service, {given.clients} clients"),
            ]
            ratio = statistics.median(alone.seconds) / statistics.median(direct.seconds)
            ratios.append(f"{runtime}: a request takes {ratio:.2f} times as long as the call itself (medians).")
    today, machine = datetime.date.today(), detect().name
    lines = [
        f"# The local service against the model itself, {today}",
        f"Machine: {machine}, shared with other work, so read the ratios. LightGBM quantiles of two series,",
        f"{len(table)} rows and {len(body) / 1000:.0f} kB of JSON a request, {given.requests} requests each.",
        "The service works on one request at a time, on one thread; further clients wait.",
        "",
        "| way | requests a second | p50, ms | p99, ms |",
        "|---|---|---|---|",
        *rows,
        "",
        *ratios,
    ]
    text = "\n".join(lines) + "\n"
    dated.write("service", text)


if __name__ == "__main__":
    wanted = engine_env("native", 1, "cpu")
    if wanted.items() - os.environ.items():
        # Thread caps must stand before numpy and LightGBM load.
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=os.environ | wanted, check=False).returncode)
    main()
