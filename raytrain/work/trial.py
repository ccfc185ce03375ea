"""A family tried on one device: how long its gradient steps take there, and what it forecasts after a few of them.

As a program it tries in a process of its own, which may die or hang of it: `python -m raytrain.work.trial` reads a
`Trial` as JSON from its standard input and answers with an `Answer` as JSON on its standard output.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import polars as pl

from raytrain import families
from raytrain.engines.memory import is_out_of_memory
from raytrain.engines.process import claim, engine_env
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.probe import Probe, measure, short_params, thin_out
from raytrain.work.spec import FitSpec, canonical_json

PROGRAM = (sys.executable, "-m", "raytrain.work.trial")
LIMIT_S = 300.0
"""Seconds that a trial may take, the start of its process included."""

_PARITY_STEPS = 6
_PARITY_ROWS = 32
"""Rows per gradient step, at most, when forecasts are compared: what is compared is the arithmetic, not the speed."""
_WARM_UP_STEPS = 3
_TIMED_STEPS = 40
_TIMED_S = 4.0
_UNTAUGHT_RATE = 1e-12
"""A learning rate at which nothing is learned."""
_MOST_FORECASTS = 2000

Status = Literal["ok", "failed", "out_of_memory", "crashed", "hung"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is tried."""

    spec: FitSpec
    """A fit of the family; its device is the one that is tried."""
    dataset: Path
    limit_s: float = LIMIT_S
    """Seconds after which there is no answer."""

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps({"spec": self.spec.to_dict(), "dataset": str(self.dataset), "limit_s": self.limit_s})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**values | {"spec": FitSpec.from_dict(values["spec"]), "dataset": Path(values["dataset"])})


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a trial went."""

    status: Status
    cause: str = ""
    """Why there is no time; empty when there is one."""
    step_s: float = 0.0
    """Median seconds of a gradient step at the family's own batch size."""
    peak_memory_bytes: int = 0
    """Of the device's own memory, or of the process on the CPU."""
    taught: tuple[float, ...] = ()
    """Forecasts after a few steps without dropout, all from one seed."""
    untaught: tuple[float, ...] = ()
    """Forecasts of the same net before them."""

    def to_json(self) -> str:
        """What `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError, TypeError: the text is no answer.
        """
        values = json.loads(text)
        return cls(**values | {name: tuple(map(float, values[name])) for name in ("taught", "untaught")})


def ask(trial: Trial, program: Sequence[str] = PROGRAM) -> Answer:
    """Try in a process of its own, of which nothing stays behind.

    Args:
        trial: what is tried.
        program: what is started.
    """
    engine = families.get(trial.spec.family).engine
    process = subprocess.Popen(
        program,
        env=os.environ | engine_env(engine, 1, trial.spec.device),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            said, complaint = process.communicate(trial.to_json(), timeout=trial.limit_s)
        except subprocess.TimeoutExpired:
            return Answer(status="hung", cause=f"no answer within {trial.limit_s:g} s")
        finally:
            _end(process)
    try:
        return Answer.from_json(said)
    except (ValueError, TypeError):
        last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
        return Answer(status="crashed", cause=f"its process ended with {_ending(process.returncode)}: {last[:200]}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def attempt(trial: Trial) -> Answer:
    """Try in this process; whatever the library raises is an answer."""
    try:
        claim(families.get(trial.spec.family).engine)
        taught, untaught = (_forecasts(trial, rate) for rate in (None, _UNTAUGHT_RATE))
        timed = measure(_probe(trial))
        assert timed.step_s is not None and timed.peak_memory_bytes is not None
    except Exception as error:
        status: Status = "out_of_memory" if is_out_of_memory(error) else "failed"
        return Answer(status=status, cause=f"{type(error).__name__}: {error}".splitlines()[0][:500])
    return Answer(
        status="ok",
        step_s=timed.step_s,
        peak_memory_bytes=timed.peak_memory_bytes,
        taught=taught,
        untaught=untaught,
    )


def _probe(trial: Trial) -> Probe:
    return Probe(
        spec=trial.spec,
        dataset=trial.dataset,
        batch_size=_batch_size(trial.spec),
        warm_up_steps=_WARM_UP_STEPS,
        timed_steps=_TIMED_STEPS,
        probe_s=_TIMED_S,
        memory_bytes=None,
        machine_bytes=0,
    )


def _forecasts(trial: Trial, rate: float | None) -> tuple[float, ...]:
    """What is forecast after a few steps at a learning rate, the family's own when None.

    Dropout is off: each device draws it from a generator of its own.
    """
    batch_size = min(_batch_size(trial.spec), _PARITY_ROWS)
    params = json.loads(short_params(trial.spec, batch_size, _PARITY_STEPS)) | {"dropout": 0.0}
    if rate is not None:
        params["learning_rate"] = rate
    spec = replace(trial.spec, params=canonical_json(params), budget_s=None)
    dataset = thin_out(Dataset.open(trial.dataset), spec, 2 * _PARITY_STEPS * batch_size)
    result = run_fit(spec, dataset, Control())
    table = result.predictions.select(pl.selectors.float()).head(_MOST_FORECASTS)
    values = table.to_numpy().ravel().astype(np.float64)
    return tuple(values.tolist())


def _batch_size(spec: FitSpec) -> int:
    return int(json.loads(spec.params)["batch_size"])


def main() -> None:
    """Answer one trial."""
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print what they like
    os.umask(0o077)
    trial = Trial.from_json(sys.stdin.read())
    signal.alarm(int(trial.limit_s) + 5)  # the end also of a hang whose starter was killed
    with answer:
        answer.write(attempt(trial).to_json())


if __name__ == "__main__":
    main()
