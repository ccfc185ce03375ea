"""Fit a family in a process of its own, as a worker does: `python fit_in_process.py FOLDER`.

FOLDER holds `job.json` (name, params, context, whether to measure) and `data.npz`. Written into it: `predictions.npy`,
and when asked `measured.json`, taken on a larger fit that runs first: so the predictions also show that an earlier
fit in the same process changes nothing.
"""

import importlib
import importlib.util
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from raytrain import families
from raytrain.engines.base import FitData, Shape
from raytrain.engines.process import claim
from raytrain.features.history import PricePath

MODULES = {"scikit-learn": "sklearn.tree", "pytorch-forecasting": "pytorch_forecasting"}
ROWS = ("y", "weight", "date", "label_date", "series")


def problems() -> Any:
    """The module that makes problems: the tests' conftest, which has no importable name here."""
    spec = importlib.util.spec_from_file_location("problems", Path(__file__).with_name("conftest.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["problems"] = module
    spec.loader.exec_module(module)
    return module


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage starts with the peak of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def thread_seconds() -> dict[int, float]:
    """CPU time of every thread of this process."""
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}


def measure(made: Any, name: str, given: dict[str, Any], rows: int, features: int) -> dict[str, float]:
    """Peak memory beyond the bare engine, and how many threads a fit that was given one kept busy."""
    family = families.get(name)
    params = families.make_params(name, given)
    for package in family.packages:
        importlib.import_module(MODULES.get(package, package))
    bare = peak_bytes()
    rng = np.random.default_rng(0)
    steps = family.steps(params)
    table = rng.standard_normal((rows + steps - 1, features), dtype=np.float32)
    y = table[:, 0] + rng.standard_normal(len(table), dtype=np.float32)
    change = np.concatenate([[np.nan], y[:-1]]).astype(np.float64)
    unknown = np.full(len(table), np.nan)
    path = PricePath(change, unknown, unknown, np.zeros(len(table), dtype=np.int32))
    forecasts = y[:, None, None] + rng.standard_normal((len(table), made.MEMBERS, 3), dtype=np.float32)
    inputs = made.Inputs(family.inputs, table, steps, 0, path, np.sort(forecasts, axis=-1))
    chosen = np.arange(steps - 1, len(table))
    date = np.arange(rows) * made.DAY
    data = FitData(
        x=inputs.of(chosen),
        y=y[chosen, None],
        weight=np.ones(rows, dtype=np.float32),
        date=date,
        label_date=date + made.DAY,
        series=path.series[chosen],
    )
    importlib.import_module("scipy.linalg")
    time.sleep(0.3)  # the threads of a library that was just loaded spin for a while before they sleep
    before = thread_seconds()
    family(params).fit(data, made.context(threads=1))
    # TensorFlow computes in a pool while the thread that called it waits: the two take turns.
    waits = {threading.main_thread().native_id} if family.engine == "keras" else set()
    after = thread_seconds()
    seconds = [after[thread] - before.get(thread, 0.0) for thread in after if thread not in waits]
    levels = len(made.LEVELS) if family.gives_quantiles else 1
    shape = Shape(rows=rows, features=features, steps=steps, quantiles=levels)
    return {
        "peak_bytes": peak_bytes() - bare,
        "needs_bytes": family.needs(params, shape).memory_bytes,
        "busy_threads": sum(value > max(0.05, 0.1 * sum(seconds)) for value in seconds),
    }


def main(folder: Path) -> None:
    """Do the job that the folder describes."""
    job = json.loads((folder / "job.json").read_text())
    family = families.get(job["name"])
    claim(family.engine)
    made = problems()
    if "measure" in job:
        (folder / "measured.json").write_text(json.dumps(measure(made, job["name"], **job["measure"])))
    with np.load(folder / "data.npz") as file:
        arrays = dict(file)
    path = PricePath(**{name: arrays[f"path_{name}"] for name in ("change", "range", "implied", "series")})
    kind, steps, most = str(arrays["kind"]), int(arrays["steps"]), int(arrays["most"])
    inputs = made.Inputs(kind, arrays["table"], steps, most, path, arrays["forecasts"])
    data = FitData(x=inputs.of(arrays["train"]), **{name: arrays[name] for name in ROWS})
    model = family(families.make_params(job["name"], job["params"])).fit(data, made.context(**job["context"]))
    np.save(folder / "predictions.npy", model.predict(inputs.of(arrays["test"])))
    (folder / "model").mkdir()
    model.save(folder / "model")
    family.load(folder / "model")
    # Neither fitting nor keeping a model may bring the library of another engine into the process.
    claim(family.engine)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
