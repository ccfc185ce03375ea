"""The search as a person runs it."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytrain.jobs import _command
from raytrain.jobs.tune import TuneJob, _progress_line, act
from raytrain.tuning.tune_parts import Progress

ROOT = Path(__file__).parents[2]
RAY = shutil.which("ray", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
WINDOW = ["--family", "naive", "--target", "return_1w", "--tune.space", '{"window": {"low": 10, "high": 500}}']
FOLDS = ["--folds.num_folds", "5"]


@pytest.fixture
def start_tune(job_env: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """Start `raytrain.jobs.tune` in a process of its own, as a person does."""

    def start(options: Sequence[str], **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "raytrain.jobs.tune", *options]
        return subprocess.Popen(
            command, cwd=ROOT, env=job_env | env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


BAD: dict[str, tuple[list[str], str]] = {
    "no family": (["--target", "return_1w"], "`family` must be given"),
    "unknown family": (["--family", "lightgmb", "--target", "return_1w"], "did you mean `lightgbm`?"),
    "unknown target": (["--family", "lightgbm", "--target", "return_5w"], "did you mean `return_1w`?"),
    "nothing to search": (["--family", "naive", "--target", "return_1w"], "needs parameters to vary"),
    "unknown parameter": ([*WINDOW[:-1], '{"windw": [1, 2]}'], "did you mean `window`?"),
    "empty range": ([*WINDOW[:-1], '{"window": {"low": 9, "high": 9}}'], "the empty range 9 to 9"),
    "unknown metric": ([*WINDOW, "--tune.metric", "skil"], "did you mean `skill`?"),
    "a metric that no fold reports": ([*WINDOW, "--tune.metric", "brier"], "a regression target report, got `brier`"),
    "no time": ([*WINDOW, "--budget", "soon"], "such as 90s, 30m or 2h"),
    "no trials": ([*WINDOW, "--trials", "0"], "`trials`: should be greater than or equal to 1"),
    "no fold left": ([*WINDOW, "--tune.holdout_folds", "5"], "must be larger than tune.holdout_folds = 5"),
    "unknown key": ([*WINDOW, "--tune.trails", "5"], "did you mean `tune.trials`?"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_nothing_is_written(
    name: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, said = BAD[name]
    assert _command.run(TuneJob, act, "", ["dry-run"], [*tiny, *FOLDS, *options]) == 4
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert said in err
    assert "Traceback" not in out + err
    assert not (tmp_path / "store").exists()


def test_a_dry_run_says_what_would_be_searched(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny, *FOLDS, *WINDOW, "--trials", "7", "--budget", "90s", "--dry-run"]
    assert _command.run(TuneJob, act, "", ["dry-run"], options) == 0
    out = capsys.readouterr().out
    assert "searching naive for return_1w by skill" in out
    assert "window: 10 to 500" in out
    assert "7 trials within 90s on the folds" in out
    assert not (tmp_path / "store").exists()


def test_a_search_that_waits_for_the_machine_to_cool_says_so() -> None:
    cool = Progress(trials=9, done=2, running=1, spent_s=30.0, budget_s=60.0)
    line = "trials 2/9, 0 stopped early, 0 failed; 1 running; best skill none yet; 30 s of 1 min 00 s"
    assert _progress_line(cool, "skill") == line
    assert _progress_line(replace(cool, paused_by="heat"), "skill") == f"{line}; paused: heat"


def results(store: Path) -> dict[Path, int]:
    """Every finished fit and when it was written."""
    return {path: path.stat().st_mtime_ns for path in store.glob("fits/*/[!.]*/result.json")}


def over(store: Path) -> dict[int, str]:
    """Trial -> its parameters, of those that the journal calls over."""
    params: dict[int, dict[str, Any]] = {}
    ended = {}
    (journal,) = store.glob("sweeps/*/study.journal")
    for line in journal.read_text().splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if entry["op_code"] == 5:
                params.setdefault(entry["trial_id"], {})[entry["param_name"]] = entry["param_value_internal"]
            if entry["op_code"] == 6 and entry["state"] in (1, 2):
                ended[entry["trial_id"]] = json.dumps(params[entry["trial_id"]])
    return ended


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 240) -> None:
    """Wait until `what` is true, while the process lives."""
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_kill_9_in_mid_search_repeats_no_trial_that_was_over(
    start_tune: Callable[..., subprocess.Popen[str]], tiny: list[str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    options = [*tiny, *FOLDS, *WINDOW, "--trials", "16", "--tune.pruning", "false", "--tracking.mlflow", "true"]
    with start_tune(options) as process:
        wait_for(lambda: len(list(store.glob("sweeps/*/study.journal"))) == 1 and len(over(store)) >= 4, process)
        process.send_signal(signal.SIGKILL)
    before, trials = results(store), over(store)

    with start_tune(options) as again:
        out, err = again.communicate(timeout=400)
    assert again.returncode == 0, out + err
    assert "Traceback" not in out + err
    after = over(store)
    assert {number: after[number] for number in trials} == trials
    assert len(after) == 16
    new = results(store)
    assert {path: new[path] for path in before} == before, "a finished fit was run again"
    # As many fits as points, folds and seeds ask for: none was made twice under another key.
    found = json.loads((store / "tuned" / "naive-return_1w.json").read_text())
    assert found["trials"] == {"complete": 16, "stopped early": 0, "failed": 0}
    assert "16 trials: 16 complete" in out
    for name in ("no better", "Better", "Not known", "The default"):
        if name.lower() in out.lower():
            break
    else:
        raise AssertionError(out)

    with start_tune(options) as third:
        out, err = third.communicate(timeout=400)
    assert third.returncode == 0, out + err
    assert results(store) == new, "nothing was left to fit"


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_search_whose_trials_all_fail_ends_with_3_and_the_first_cause(
    start_tune: Callable[..., subprocess.Popen[str]], tiny: list[str], tmp_path: Path
) -> None:
    """A window longer than the training rows fails before torch is loaded."""
    options = [*tiny, *FOLDS, "--family", "gru", "--target", "return_1w", "--trials", "2"]
    options += ["--tune.space", '{"window": [2000, 2048]}', "--params.gru.window", "2000"]
    with start_tune(options) as process:
        out, err = process.communicate(timeout=500)
    assert process.returncode == 3, out + err
    assert "Traceback" not in out + err
    assert "trial(s) of gru-return_1w failed, the first: " in err
    assert "FitError" in err
    assert not (tmp_path / "store" / "tuned").exists()


@pytest.fixture
def standing(job_env: dict[str, str]) -> Iterator[dict[str, str]]:
    """A Ray of two cores that no job has started; yields what a job's environment says to use it."""
    home = Path("/tmp") / f"rt{secrets.token_hex(4)}"  # sockets have short names
    home.mkdir(mode=0o700)
    port, client_port = _free_port(), _free_port()
    address = f"127.0.0.2:{port}" if sys.platform != "darwin" else f"127.0.0.1:{port}"
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    command = [str(RAY), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2", "--num-gpus=0"]
    command += ["--resources", json.dumps({"pcore": 2, "thermal": 2, "mps": 1}), f"--memory={6 * 2**30}"]
    command += [f"--port={port}", f"--node-ip-address={address.partition(':')[0]}", f"--temp-dir={home}/ray"]
    command += [f"--object-store-memory={80 * 2**20}", "--include-dashboard=false"]
    command += [f"--ray-client-server-port={client_port}"]
    with (home / "log").open("wb") as log:
        head = subprocess.Popen(
            command, env=job_env | given, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while not _is_up(address, job_env | given):
            assert head.poll() is None and time.monotonic() < end, (home / "log").read_text()
            time.sleep(0.2)
        yield given | {"RAY_ADDRESS": address}
    finally:
        with suppress(psutil.NoSuchProcess):
            started = psutil.Process(head.pid).children(recursive=True)
            for process in (*started, psutil.Process(head.pid)):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(started, timeout=10)
        head.wait()
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _is_up(address: str, env: dict[str, str]) -> bool:
    ask = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(len(ray.nodes()))"
    command = [sys.executable, "-c", ask, address]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=100)
    return done.returncode == 0 and done.stdout.strip() == "1"


def fitting(store: Path) -> set[int]:
    """The processes that work on a fit."""
    found = set()
    for path in store.glob("inflight/*.json"):
        with suppress(OSError, ValueError, KeyError):
            pid = int(json.loads(path.read_text())["pid"])
            if psutil.pid_exists(pid):
                found.add(pid)
    return found


def ticks(pids: set[int]) -> dict[tuple[int, str], int]:
    """(process, thread) -> the CPU time that it has had, in hundredths of a second."""
    found = {}
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(") ")[2].split()
                found[pid, path.parent.name] = int(fields[11]) + int(fields[12])
    return found


def busy(before: dict[tuple[int, str], int], after: dict[tuple[int, str], int]) -> int:
    """Threads that computed in between: a watcher's share of what its process has had is small."""
    used = {
        thread: after[thread] - before.get(thread, 0) for thread in after if thread[0] in {pid for pid, _ in before}
    }
    whole: dict[int, int] = {}
    for (pid, _), spent in used.items():
        whole[pid] = whole.get(pid, 0) + spent
    return sum(spent >= 5 and spent >= 0.3 * whole[pid] for (pid, _), spent in used.items())


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform == "darwin", reason="threads are counted in /proc")
def test_a_search_and_a_daily_job_share_two_cores(
    start_tune: Callable[..., subprocess.Popen[str]],
    start_daily: Callable[..., subprocess.Popen[str]],
    standing: dict[str, str],
    tiny: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    store = tmp_path / "store"
    searched = ["--family", "lightgbm_quantile", "--target", "return_1w", "--trials", "6", "--budget", "10m"]
    searched += ["--params.lightgbm_quantile.num_rounds", "150"]
    made = ["--families", "naive,lightgbm,xgboost", "--params.lightgbm.num_rounds", "150"]
    most_fits, most_threads, both = 0, 0, 0
    with (
        start_tune([*tiny, *FOLDS, *searched], **standing) as tune,
        start_daily([*tiny, *made, "--params.xgboost.num_rounds", "60"], **standing) as daily,
    ):
        while tune.poll() is None or daily.poll() is None:
            pids = fitting(store)
            before = ticks(pids)
            time.sleep(0.3)
            still = pids & fitting(store)
            most_threads = max(most_threads, busy(before, ticks(still)))
            most_fits = max(most_fits, len(still))
            both += tune.poll() is None and daily.poll() is None
        tuned, ran = tune.communicate(), daily.communicate()
    assert tune.returncode == 0, tuned
    assert daily.returncode == 0, ran
    assert both > 20, "they ran side by side"
    assert most_fits == most_threads == 2
    assert summary()["fits"]["failed"] == 0
    assert (store / "tuned" / "lightgbm_quantile-return_1w.json").exists()
