"""The job as a person runs it: under a limit of memory, stopped, and with wrong input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.config import load
from raytrain.jobs import _command
from raytrain.jobs.batch_size import BatchSizeConfig, batch_size
from raytrain.machine.detect import detect
from raytrain.pipeline import prepare
from raytrain.run_config import RunConfig, recipes_of
from raytrain.work.batch_memory import memory_file, with_remembered

ROOT = Path(__file__).parents[2]
QUICK = ["--batch.warm_up_steps", "1", "--batch.timed_steps", "2"]

Start = Callable[..., subprocess.Popen[str]]
Left = Callable[[], dict[int, str]]


@pytest.fixture
def start(tiny: list[str], job_env: dict[str, str]) -> Start:
    """Start the job in a process of its own."""

    def begin(*options: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "raytrain.jobs.batch_size", *tiny, *options]
        return subprocess.Popen(
            command, cwd=ROOT, env=job_env | env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return begin


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("*")} if Path("/dev/shm").exists() else set()


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its memory")
def test_under_a_limit_it_returns_the_last_batch_that_fits_and_leaves_the_machine_healthy(
    start: Start, tiny: list[str], tmp_path: Path, ray_left: Left
) -> None:
    """A row of this net leaves 6 MB behind for the way back: 16 fit beside torch in 0.7 GiB, 128 do not."""
    before = shared_memory()
    net = ["--params.transformer.window", "256", "--params.transformer.num_layers", "8"]
    limits = ["--batch.memory_gb", "0.7", "--batch.head_room", "0", "--batch.start", "16", "--batch.patience", "9"]
    with start("--family", "transformer", *net, *limits, *QUICK) as job:
        out, err = job.communicate(timeout=500)
    assert job.returncode == 0, err
    [path] = (tmp_path / "store" / "batch_sizes").glob("*.json")
    [entry] = json.loads(path.read_text()).values()
    *fitted, last = entry["measured"]
    assert fitted and {one["status"] for one in fitted} == {"ok"}
    assert [one["batch_size"] for one in entry["measured"]] == [16 * 2**at for at in range(len(fitted) + 1)]
    assert last["status"] == "out_of_memory"
    assert "ran out of memory" in out
    assert entry["batch_size"] in [one["batch_size"] for one in fitted]
    assert all(one["peak_memory_bytes"] <= 0.7 * 2**30 for one in fitted)
    assert (tmp_path / "store" / "batch_sizes" / "transformer.html").exists()
    # The fits of the next run take it.
    run = prepare(load(RunConfig, [Path(tiny[1])], [*tiny[2:], "--families", "transformer", *net]))
    asked = recipes_of(run.config, "cpu")
    changed, told = with_remembered(asked, run.config.store, run.profile, run.dataset.x.shape[1])
    assert changed.recipes[0].params.model_dump()["batch_size"] == entry["batch_size"]
    assert len(told) == 1
    # Nothing stays behind.
    assert ray_left() == {}
    assert shared_memory() <= before
    kept = {one.name for one in (tmp_path / "store").iterdir()}
    assert kept == {".lock", "prepared", "batch_sizes"}
    assert {one.name for one in (tmp_path / "store" / "batch_sizes").iterdir()} == {path.name, "transformer.html"}


@pytest.mark.cluster
def test_stopped_it_ends_after_the_probe_that_runs_and_remembers_nothing(
    start: Start, tmp_path: Path, ray_left: Left
) -> None:
    with start("--family", "gru", "--params.gru.window", "5", *QUICK, PYTHONUNBUFFERED="1") as job:
        assert job.stdout is not None
        line = next(line for line in job.stdout if re.match(r"8: ", line))
        assert "samples/s" in line
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=250)
    assert job.returncode == 130, err
    assert "stopping" in err
    assert list((tmp_path / "store" / "batch_sizes").glob("*.json")) == []
    assert ray_left() == {}


@pytest.mark.cluster
def test_killed_it_leaves_no_process(start: Start, ray_left: Left) -> None:
    with start("--family", "gru", "--batch.timed_steps", "100000") as job:
        while not any("raytrain.work.probe" in line for line in ray_left().values()):
            assert job.poll() is None
            time.sleep(0.2)
        os.kill(job.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while ray_left() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert ray_left() == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--family", "patchts"], "did you mean `patchtst`?"),
        (["--family", "lightgbm"], "must be a net to have a batch size to search for, got lightgbm"),
        (["--family", "gru", "--size", "20m"], "families that come in sizes (patchtst), not gru"),
        (["--family", "patchtst", "--size", "20"], "params.patchtst.size"),
        ([], "`family` must be given"),
        (["--family", "gru", "--batch.head_room", "1.5"], "batch.head_room"),
        (["--family", "gru", "--batch.start", "12"], "must be a power of two"),
        (["--family", "gru", "--batch.headroom", "0.1"], "batch.head_room"),
        (["--family", "gru", "--batch.memory_gb", "0.1"], "batch.memory_gb must be above"),
    ],
)
def test_bad_input_is_one_message_and_nothing_written(
    options: list[str], said: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _command.run(BatchSizeConfig, batch_size, "", [], [*tiny, *options]) == 4
    err = capsys.readouterr().err
    assert err.startswith("error: ") and said in err
    assert not (tmp_path / "store").exists()


def test_the_file_is_that_of_this_machine(tmp_path: Path) -> None:
    assert memory_file(tmp_path, detect()).name.startswith(detect().name)


def test_the_size_is_short_for_the_parameter(tiny: list[str]) -> None:
    from raytrain.jobs.batch_size import _run_config

    given: dict[str, Any] = load(BatchSizeConfig, [Path(tiny[1])], [*tiny[2:], "--family", "patchtst"]).model_dump()
    config = load(
        BatchSizeConfig,
        [Path(tiny[1])],
        [*tiny[2:], "--family", "patchtst", "--size", "20m", "--params.patchtst.window", "32"],
    )
    assert _run_config(config).params == {"patchtst": {"size": "20m", "window": 32}}
    assert _run_config(config).families == ("patchtst",)
    assert given["size"] is None
