"""How fast a net's gradient steps are at one batch size, measured on the rows of a real fit.

As a program it measures in a process of its own, which may die of it: `python -m raytrain.work.probe` reads a `Probe`
as JSON from its standard input and answers with a `Measured` as JSON on its standard output.
"""

import itertools
import json
import math
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from raytrain import families
from raytrain.engines.accelerator import device_memory, synchronise
from raytrain.engines.base import Device
from raytrain.engines.memory import is_out_of_memory
from raytrain.engines.process import claim
from raytrain.errors import FitError
from raytrain.work.batch_search import Measured, Status
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, FitResult, run_fit
from raytrain.work.spec import FitSpec, canonical_json

LIFELINE = "RAYTRAIN_LIFELINE"
"""The descriptor of a pipe whose other end the starter holds: when it closes, nobody waits for the answer."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What is measured."""

    spec: FitSpec
    """A fit of the family, on the rows that count."""
    dataset: Path
    batch_size: int
    warm_up_steps: int
    timed_steps: int
    probe_s: float
    """Seconds after which the steps timed so far are enough."""
    memory_bytes: int | None
    """The memory that there is, when it is not to be asked of the accelerator."""
    machine_bytes: int
    """The memory of the machine."""
    threads: int = 1
    hold_to_memory: bool = False
    """Whether the process may take no more than `memory_bytes`, or the machine's, so that it fails where a machine of
    that size would."""

    @property
    def limit_bytes(self) -> int:
        """What the process may take."""
        return self.memory_bytes or self.machine_bytes

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self) | {"spec": self.spec.to_dict(), "dataset": str(self.dataset)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**values | {"spec": FitSpec.from_dict(values["spec"]), "dataset": Path(values["dataset"])})


class StepClock:
    """Times gradient steps: a net asks it after each whether to stop.

    Args:
        device: whose work is waited for, so that a step counts when it is done and not when it is asked for.
        warm_up: steps that are not timed.
        timed: steps that are.
        max_s: seconds on the wall, from the first step on, after which those timed so far are enough.
        now: the clock of the steps, in seconds.
        wall: the clock on the wall, in seconds.
    """

    def __init__(
        self,
        device: Device,
        *,
        warm_up: int,
        timed: int,
        max_s: float,
        now: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device, self._warm_up, self._timed, self._now, self._wall = device, warm_up, timed, now, wall
        self._max_s, self._until = max_s, math.inf
        self._ends: list[float] = []

    def __call__(self) -> bool:
        """A step has ended; True when a fit that has not come to its end by itself should."""
        synchronise(self._device)
        self._ends.append(self._now())
        if len(self._ends) == 1:
            self._until = self._wall() + self._max_s
        return len(self._laps) > self._timed or (len(self._laps) > 0 and self._wall() >= self._until)

    @property
    def _laps(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self._ends[self._warm_up - 1 :])]

    @property
    def step_s(self) -> float:
        """Median seconds of a timed step. The looks at the rows kept aside lie between few of them.

        Raises:
            FitError: no step was timed.
        """
        if not self._laps:
            raise FitError(f"a probe needs {self._warm_up + 1} gradient steps or more, got {len(self._ends)}")
        return statistics.median(self._laps[: self._timed])


def measure(probe: Probe) -> Measured:
    """Fit for as many steps as are timed, look at the rows kept aside, forecast the test block: a whole fit, but short.

    Raises:
        FitError: the family cannot learn from these rows.
        Exception: whatever the library raises when memory runs out or something goes wrong.
    """
    spec, num_steps = probe.spec, probe.warm_up_steps + probe.timed_steps
    # What others take of a busy machine is not counted, where that can be told apart: on one core.
    alone = spec.device == "cpu" and probe.threads == 1
    clock = StepClock(
        spec.device,
        warm_up=probe.warm_up_steps,
        timed=probe.timed_steps,
        max_s=probe.probe_s,
        now=time.process_time if alone else time.perf_counter,
    )
    dataset = thin_out(Dataset.open(probe.dataset), spec, 2 * num_steps * probe.batch_size)
    short = replace(spec, params=short_params(spec, probe.batch_size, num_steps), budget_s=None)
    result = run_fit(short, dataset, Control(threads=probe.threads, should_stop=clock))
    peak, total = _memory_of(probe, result)
    return Measured(
        batch_size=probe.batch_size,
        status="ok",
        samples_per_s=probe.batch_size / clock.step_s,
        step_s=clock.step_s,
        peak_memory_bytes=peak,
        memory_bytes=total,
    )


def short_params(spec: FitSpec, batch_size: int, num_steps: int) -> str:
    """The parameters of the fit with another batch size, and with an end after so many steps."""
    # Patience that never ends: a few steps on large batches are as many epochs, of which the later may be no better.
    limits = {"batch_size": batch_size, "max_steps": num_steps, "num_epochs": 10_000, "patience": 1_000_000}
    params = families.make_params(spec.family, {**json.loads(spec.params), **limits})
    return canonical_json(params.model_dump(mode="json"))


def thin_out(dataset: Dataset, spec: FitSpec, num_rows: int) -> Dataset:
    """The dataset with weights of 0 but on so many training rows, evenly spread over the dates.

    The table stays as large as it is, and the looks at the rows kept aside become short.
    """
    train = np.flatnonzero(dataset.train_rows(spec.fold, *spec.target_names))
    by_date = train[np.argsort(dataset.date[train], kind="stable")]
    if num_rows >= len(by_date):
        return dataset
    chosen = by_date[np.linspace(0, len(by_date) - 1, num_rows).astype(np.intp)]
    weight = np.zeros(len(dataset.date), dtype=np.float32)
    weight[chosen] = dataset.weight[chosen]
    arrays: Mapping[str, NDArray[Any]] = {**dataset.arrays, "weight": weight}
    return replace(dataset, arrays=arrays)


def _memory_of(probe: Probe, result: FitResult) -> tuple[int, int]:
    """The peak, and what there is."""
    accelerator = device_memory(probe.spec.device)
    if accelerator is None:
        return result.cost.peak_memory_bytes, probe.limit_bytes
    return accelerator.peak_bytes, min(accelerator.total_bytes, probe.memory_bytes or accelerator.total_bytes)


def main() -> None:
    """Answer one probe."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print what they like
    os.umask(0o077)
    _end_with_the_starter()
    probe = Probe.from_json(sys.stdin.read())
    if probe.hold_to_memory:
        # Memory of its own, not address space: of that a library reserves far more than it ever touches.
        resource.setrlimit(resource.RLIMIT_DATA, (probe.limit_bytes, probe.limit_bytes))
    with answer:
        answer.write(_attempt(probe).to_json())


def _attempt(probe: Probe) -> Measured:
    try:
        claim(families.get(probe.spec.family).engine)
        return measure(probe)
    except Exception as error:
        status: Status = "out_of_memory" if is_out_of_memory(error) else "failed"
        cause = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        return Measured(batch_size=probe.batch_size, status=status, cause=cause)


def _end_with_the_starter() -> None:
    """Whatever becomes of the starter, nothing of it stays behind."""
    lifeline = os.environ.get(LIFELINE)
    if lifeline is None:
        return

    def wait() -> None:
        os.read(int(lifeline), 1)
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


if __name__ == "__main__":
    main()
