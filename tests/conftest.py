"""What tests of whole jobs share: a small table, a job run as a person runs it, and a look at what Ray left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from hypothesis import HealthCheck, settings

# No test asserts an absolute time, and a busy machine is not a slow strategy.
settings.register_profile("home", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("home"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "home"))

ROOT = Path(__file__).parents[1]
MARK = "STARTED_BY_TEST"
TINY = """
data: {kind: parquet}
targets: [{kind: return, horizon: 1, label: 1d}, {kind: return, horizon: 5, label: 1w}]
folds: {test_span: 1q, num_folds: 3}
tracking: {mlflow: false}
cluster: {dashboard: false}
"""


@pytest.fixture(autouse=True)
def capped_keras(request: pytest.FixtureRequest) -> None:
    """TensorFlow takes its threads once, at its first operation: in any order of tests that must be after the cap."""
    if request.node.get_closest_marker("keras"):
        from raytrain.engines import keras_loop
        from raytrain.engines.base import FitContext

        keras_loop.prepare(FitContext())


def random_walk(rows: int, seed: int, series: str) -> pl.DataFrame:
    """Business days from 2015 with a geometric random walk and a column of noise."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    days = pl.date_range(pl.date(2015, 1, 1), pl.date(2035, 1, 1), "1d", eager=True)
    dates = days.filter(days.dt.weekday() <= 5).head(rows)
    return pl.DataFrame({"series_id": [series] * rows, "date": dates, "close": close, "noise": rng.normal(size=rows)})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two series of 900 business days."""
    path = tmp_path / "bars.parquet"
    pl.concat([random_walk(900, 1, "A"), random_walk(900, 2, "B")]).write_parquet(path)
    return path


@pytest.fixture
def tiny(tmp_path: Path, table: Path) -> list[str]:
    """Options of a run that takes seconds."""
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY)
    return ["--config", str(config), "--data.path", str(table), "--store", str(tmp_path / "store")]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Marks the environment of all processes of a test, so that they can be told from those of other runs."""
    monkeypatch.setenv(MARK, str(tmp_path))
    return str(tmp_path)


@pytest.fixture
def job_env(mark: str) -> dict[str, str]:
    """The environment of a job: nothing of the tests' own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAYTRAIN_", "RAY_"))}


Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def start_daily(job_env: dict[str, str]) -> Start:
    """Start `raytrain.jobs.daily` in a process of its own, as a person does."""

    def start(options: Sequence[str], **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "raytrain.jobs.daily", *options]
        return subprocess.Popen(
            command, cwd=ROOT, env=job_env | env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


@pytest.fixture
def train(job_env: dict[str, str]) -> Run:
    """Run `raytrain.jobs.train` to its end."""

    def run(options: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "raytrain.jobs.train", *options]
        return subprocess.run(command, cwd=ROOT, env=job_env, text=True, capture_output=True, timeout=240, check=False)

    return run


@pytest.fixture
def daily(start_daily: Start) -> Run:
    """Run `raytrain.jobs.daily` to its end."""

    def run(options: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
        with start_daily(options, **env) as process:
            out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def summary(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Reads the newest run's summary.json."""
    return lambda: dict(json.loads((tmp_path / "store" / "latest" / "summary.json").read_text()))


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}


@pytest.fixture
def ray_left(mark: str) -> Callable[[], dict[int, str]]:
    """Pid -> command line of the processes that this test's jobs have started and that still live."""

    def left() -> dict[int, str]:
        others = (process for process in psutil.process_iter() if process.pid != os.getpid())
        found = [process for process in others if _environment(process).get(MARK) == mark]
        return {process.pid: " ".join(process.cmdline()).strip() for process in found}

    return left
