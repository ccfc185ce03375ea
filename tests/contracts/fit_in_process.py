"""Fit a family in a process of its own, as a worker does: `python fit_in_process.py FOLDER`.

FOLDER holds `job.json` (name, params, context, whether to measure) and `data.npz`. Written into it: `predictions.npy`,
and when asked `measured.json`, taken on a larger fit that runs first: so the predictions also show that an earlier
fit in the same process changes nothing.
"""

import importlib
import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from raytrain import families
from raytrain.engines.base import FitContext, FitData, Shape
from raytrain.engines.process import claim
from raytrain.features.windows import Windows

MODULES = {"scikit-learn": "sklearn.tree"}


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


def measure(name: str, given: dict[str, Any], rows: int, features: int) -> dict[str, float]:
    """Peak memory beyond the bare engine, and how many threads a fit that was given one kept busy."""
    family = families.get(name)
    params = families.make_params(name, given)
    for package in family.packages:
        importlib.import_module(MODULES.get(package, package))
    bare = peak_bytes()
    rng = np.random.default_rng(0)
    steps = family.steps(params)
    table = rng.standard_normal((rows + steps - 1, features), dtype=np.float32)
    date = np.arange(rows) * 86_400 * 10**9
    data = FitData(
        x=Windows(table, np.arange(steps - 1, len(table)), steps) if family.inputs == "windows" else table,
        y=table[steps - 1 :, :1] + rng.standard_normal((rows, 1), dtype=np.float32),
        weight=np.ones(rows, dtype=np.float32),
        date=date,
        label_date=date + 86_400 * 10**9,
    )
    levels = (0.1, 0.5, 0.9)
    before = thread_seconds()
    family(params).fit(data, FitContext(quantiles=levels, threads=1))
    seconds = [after - before.get(thread, 0.0) for thread, after in thread_seconds().items()]
    shape = Shape(rows=rows, features=features, steps=steps, quantiles=len(levels) if family.gives_quantiles else 1)
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
    if "measure" in job:
        (folder / "measured.json").write_text(json.dumps(measure(job["name"], **job["measure"])))
    context = FitContext(**job["context"] | {"quantiles": tuple(job["context"]["quantiles"])})
    with np.load(folder / "data.npz") as file:
        arrays = dict(file)
    x_test = arrays.pop("x_test")
    model = family(families.make_params(job["name"], job["params"])).fit(FitData(**arrays), context)
    np.save(folder / "predictions.npy", model.predict(x_test))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
