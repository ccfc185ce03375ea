"""Faults injected for real into whole runs: kills, crashes, hangs, signals, locks."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.cluster

SLOW = ["--params.lightgbm.num_rounds", "100000", "--params.lightgbm.early_stopping_rounds", "100000"]
"""Makes a lightgbm fit last for minutes."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120) -> Any:
    """The first true answer of `what`, while the process lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def finished(store: Path) -> dict[str, float]:
    """Key -> when its result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in store.glob("fits/*/[!.]*/result.json")}


def inflight(store: Path) -> Iterator[tuple[str, int]]:
    """(key, pid) of the fits under way."""
    for path in store.glob("inflight/*.json"):
        try:
            yield path.stem, json.loads(path.read_text())["pid"]
        except (OSError, ValueError):
            continue


def gone(left: Callable[[], dict[int, str]], seconds: float) -> dict[int, str]:
    """What is still there after waiting for it to go."""
    end = time.monotonic() + seconds
    while (found := left()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def test_kill_9_in_mid_run_loses_only_what_was_in_flight(
    start_daily: Callable[..., subprocess.Popen[str]],
    daily: Callable[..., Any],
    tiny: list[str],
    store: Path,
    summary: Callable[[], dict[str, Any]],
    ray_left: Callable[[], dict[int, str]],
) -> None:
    options = [*tiny, "--families", "naive,lightgbm,xgboost", "--params.lightgbm.num_rounds", "400"]
    options += ["--params.lightgbm.early_stopping_rounds", "400", "--params.xgboost.num_rounds", "50"]
    with start_daily(options) as process:
        wait_for(lambda: len(finished(store)) >= 8, process)
        process.kill()
    before = finished(store)
    again = daily(options)
    assert again.returncode == 0, again.stderr
    fits = summary()["fits"]
    assert fits["cached"] + fits["ok"] == fits["total"] == 20
    assert fits["cached"] >= len(before) >= 8
    after = finished(store)
    assert {key: after[key] for key in before} == before, "a finished fit was run again"
    assert not list(store.glob("fits/*/.*"))
    assert not gone(ray_left, 10)


def test_a_fit_that_kills_its_worker_every_time_is_a_row_and_the_others_finish(
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    store: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    with start_daily([*tiny, "--families", "naive,lightgbm", "--folds.num_folds", "1", *SLOW]) as process:
        killed: set[int] = set()
        while process.poll() is None and len(killed) < 20:
            for pid in _training(store) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.2)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, out + err
    seen = summary()
    assert seen["status"] == "partial"
    assert seen["fits"]["failed"] == 2
    assert len(killed) == 4, "each fit has two tries"
    assert {failure["family"] for failure in seen["failures"]} == {"lightgbm"}
    assert all("worker process died" in failure["exception"] for failure in seen["failures"])
    assert "to go on:" in out
    assert "Traceback" not in out + err


def _training(store: Path) -> set[int]:
    """Processes that work on a fit of seconds, not on one of milliseconds."""
    before = set(inflight(store))
    time.sleep(1.0)
    return {pid for _, pid in before & set(inflight(store)) if psutil.pid_exists(pid)}


def test_a_fit_over_its_time_is_killed_and_counted(
    daily: Callable[..., Any], tiny: list[str], summary: Callable[[], dict[str, Any]]
) -> None:
    options = [*tiny, "--families", "naive,lightgbm", "--folds.num_folds", "1", *SLOW, "--cluster.timeout_s", "4"]
    done = daily(options)
    assert done.returncode == 3, done.stderr
    seen = summary()
    assert seen["fits"]["timeout"] == 2
    assert seen["fits"]["ok"] == seen["fits"]["total"] - 2
    assert all("killed after 4 s" in failure["exception"] for failure in seen["failures"])


def test_a_run_whose_fits_all_fail_still_ends_with_a_report(
    daily: Callable[..., Any], tiny: list[str], store: Path, summary: Callable[[], dict[str, Any]]
) -> None:
    done = daily([*tiny, "--families", "lightgbm", "--folds.num_folds", "1", *SLOW, "--cluster.timeout_s", "2"])
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    seen = summary()
    assert (seen["fits"]["timeout"], seen["fits"]["ok"], seen["gates"]) == (2, 0, [])
    assert "killed after 2 s" in (store / "latest" / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_its_own_code_and_keeps_what_is_done(
    number: signal.Signals,
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    store: Path,
    summary: Callable[[], dict[str, Any]],
    ray_left: Callable[[], dict[int, str]],
) -> None:
    with start_daily([*tiny, "--families", "naive,lightgbm", *SLOW]) as process:
        wait_for(lambda: finished(store) and any(inflight(store)), process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, out + err
    seen = summary()
    assert seen["status"] == "stopped"
    assert seen["fits"]["ok"] == len(finished(store))
    assert seen["fits"]["skipped"] + seen["fits"]["stopped"] > 0
    assert "to go on:" in out
    assert not gone(ray_left, 10)


def test_the_second_run_on_a_store_is_told_who_holds_it(
    start_daily: Callable[..., subprocess.Popen[str]], daily: Callable[..., Any], tiny: list[str], store: Path
) -> None:
    with start_daily([*tiny, "--families", "naive,lightgbm", *SLOW]) as process:
        wait_for(lambda: any(inflight(store)), process)
        second = daily([*tiny, "--families", "naive"])
        assert second.returncode == 75
        assert f"pid {process.pid}" in second.stderr
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_a_locked_tracker_is_a_note_and_the_run_is_well(
    daily: Callable[..., Any], tiny: list[str], store: Path, summary: Callable[[], dict[str, Any]]
) -> None:
    store.mkdir()
    holder = sqlite3.connect(store / "mlflow.db", isolation_level=None)
    holder.execute("CREATE TABLE held (x)")
    holder.execute("BEGIN EXCLUSIVE")
    done = daily([*tiny, "--families", "naive", "--tracking.mlflow", "true"])
    holder.close()
    assert done.returncode == 0, done.stderr
    assert any("MLflow could not log run" in note for note in summary()["warnings"])
    assert (store / "latest" / "report.html").exists()


def test_a_damaged_result_is_put_aside_and_fitted_again(
    daily: Callable[..., Any], tiny: list[str], store: Path, summary: Callable[[], dict[str, Any]]
) -> None:
    options = [*tiny, "--families", "naive"]
    assert daily(options).returncode == 0
    key = sorted(finished(store))[0]
    path = store / "fits" / key[:2] / key / "predictions.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert daily(options).returncode == 0
    assert summary()["fits"]["ok"] == 1
    assert [found.name.split(".")[0] for found in (store / "damaged").iterdir()] == [key]


def test_a_cluster_that_cannot_be_reached_says_so(daily: Callable[..., Any], tiny: list[str], store: Path) -> None:
    done = daily([*tiny, "--families", "naive"], RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 4
    assert "RAY_ADDRESS must name a running cluster" in done.stderr


def test_authentication_cannot_be_switched_off(daily: Callable[..., Any], tiny: list[str]) -> None:
    done = daily([*tiny, "--families", "naive"], RAY_AUTH_MODE="disabled")
    assert done.returncode == 4
    assert "RAY_AUTH_MODE" in done.stderr


def test_heat_stops_the_fits_and_a_cool_machine_goes_on(
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    store: Path,
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    heat = tmp_path / "heat"
    heat.write_text("50")
    options = [*tiny, "--families", "naive,lightgbm", "--folds.num_folds", "1", "--params.lightgbm.num_rounds", "4000"]
    options += ["--params.lightgbm.early_stopping_rounds", "4000"]
    with start_daily(options, RAYTRAIN_HEAT_FILE=str(heat)) as process:
        wait_for(lambda: len(finished(store)) >= 2 and any(inflight(store)), process)
        heat.write_text("97")
        wait_for(lambda: not any(inflight(store)), process)
        time.sleep(3)
        hot = finished(store)
        assert not any(inflight(store)), "nothing is started while it is hot"
        heat.write_text("60")
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    told = (store / "latest" / "story-1.jsonl").read_text()
    assert told.count('"AskStop"') == told.count('"FitStopped"') > 0
    assert len(hot) < summary()["fits"]["total"]
    assert summary()["fits"]["failed"] == 0


def test_a_worker_that_stands_still_is_killed_and_the_others_finish(
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    store: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    options = [*tiny, "--families", "naive,lightgbm", "--folds.num_folds", "1", "--cluster.timeout_s", "40"]
    options += ["--params.lightgbm.num_rounds", "10000", "--params.lightgbm.early_stopping_rounds", "10000"]
    with start_daily(options) as process:
        pid = min(wait_for(lambda: _training(store), process))
        # A stopped process heeds nothing but SIGKILL, like a hang in native code.
        os.kill(pid, signal.SIGSTOP)
        out, err = process.communicate(timeout=240)
    assert process.returncode == 3, out + err
    assert summary()["fits"]["timeout"] == 1
    assert summary()["fits"]["ok"] == summary()["fits"]["total"] - 1
    assert not psutil.pid_exists(pid)
