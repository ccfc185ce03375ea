"""What was logged is read from the database itself, so that no test loads MLflow into the test process."""

import json
import math
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from raytrain.tracking import mlflow_store, writer
from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.mlflow_store import log_run, tracking_uri
from raytrain.tracking.records import ChildRecord, RunRecord, TrackingFailed

CONFIG = TrackingConfig()
ENGINES = ("lightgbm", "xgboost", "ngboost", "torch", "tensorflow", "keras", "sklearn", "ray")


def query(store: Path, sql: str, *values: str) -> list[tuple]:
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        return connection.execute(sql, values).fetchall()


def pairs(store: Path, table: str, run: str) -> dict:
    return dict(query(store, f"SELECT key, value FROM {table} WHERE run_uuid = ?", run))


def record(run_id: str = "run-1", **given) -> RunRecord:
    return RunRecord(**{"run_id": run_id, "started_at": 1_000, "ended_at": 9_000, "status": "FINISHED"} | given)


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> tuple[Path, str]:
    """A store in which one full run was logged, and MLflow's id of it.

    A killed writer had left half a database and its journal there.
    """
    store = tmp_path_factory.mktemp("a 100% store")
    for left_over in ("mlflow.db.new", "mlflow.db.new-journal"):
        (store / left_over).write_bytes(b"torn" * 1000)
    summary = store / "summary.json"
    summary.write_text('{"status": "ok"}')
    children = [
        ChildRecord(
            family=family,
            target="return_5d",
            params={"leaves": "31"},
            metrics={"val_mape": 3.5, "skill": math.inf, "sharpe": math.nan, "meets_mape_threshold": 1.0},
            tags={"decision": "HOLD"},
        )
        for family in ("naive", "lightgbm")
    ]
    full = record(
        params={f"p{number}": "x" for number in range(150)},
        metrics={"wall_s": np.float32(2.5)},
        tags={"data_hash": "abc"},
        artifacts=[summary],
        children=children,
    )
    return store, log_run(store, CONFIG, full)


@pytest.fixture
def store(logged, tmp_path) -> Path:
    """A copy of the logged store for a test that changes it."""
    return Path(shutil.copytree(logged[0], tmp_path / "store"))


def test_the_parent_holds_the_run(logged):
    store, run = logged
    row = query(store, "SELECT name, status, start_time, end_time FROM runs WHERE run_uuid = ?", run)
    assert row == [("run-1", "FINISHED", 1_000, 9_000)]
    assert pairs(store, "params", run) == {f"p{number}": "x" for number in range(150)}
    assert pairs(store, "metrics", run) == {"wall_s": 2.5}
    assert {"data_hash": "abc", "raytrain.run_id": "run-1"}.items() <= pairs(store, "tags", run).items()


def test_each_family_on_each_target_is_a_child(logged):
    store, parent = logged
    children = query(store, "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = ?", parent)
    names = query(store, "SELECT name FROM runs WHERE run_uuid != ? AND status = 'FINISHED'", parent)
    assert sorted(names) == [("lightgbm return_5d",), ("naive return_5d",)]
    for (child,) in children:
        assert pairs(store, "params", child) == {"leaves": "31"}
        tags = pairs(store, "tags", child)
        assert (tags["decision"], tags["target"]) == ("HOLD", "return_5d")
    assert len(children) == 2


def test_metrics_that_are_not_finite_are_named_and_not_stored(logged):
    store, parent = logged
    [(child,)] = query(store, "SELECT run_uuid FROM runs WHERE name = 'naive return_5d'")
    assert pairs(store, "metrics", child) == {"val_mape": 3.5, "meets_mape_threshold": 1.0}
    assert pairs(store, "tags", child)["raytrain.metrics_not_finite"] == "sharpe, skill"
    assert "raytrain.metrics_not_finite" not in pairs(store, "tags", parent)


def test_artifacts_are_copied_into_the_store(logged):
    store, run = logged
    assert (store / "mlartifacts" / run / "artifacts" / "summary.json").read_text() == '{"status": "ok"}'


def test_nothing_is_left_beside_the_database(logged):
    store, _ = logged
    assert {path.name for path in store.iterdir()} - {".mlflow.lock"} == {"mlartifacts", "mlflow.db", "summary.json"}
    assert tracking_uri(store) == f"sqlite:///{store}/mlflow.db"


def test_the_next_run_ends_ours_that_still_run_and_nobody_elses(store, logged):
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("UPDATE runs SET status = 'RUNNING'")
        connection.execute(
            "DELETE FROM tags WHERE key = 'raytrain.run_id' AND run_uuid IN "
            "(SELECT run_uuid FROM runs WHERE name = 'naive return_5d')"
        )
        connection.commit()
    log_run(store, CONFIG, record("run-2", status="FAILED"))
    assert dict(query(store, "SELECT name, status FROM runs")) == {
        "run-1": "KILLED",
        "lightgbm return_5d": "KILLED",
        "naive return_5d": "RUNNING",
        "run-2": "FAILED",
    }


def test_tracking_can_be_off(tmp_path):
    assert log_run(tmp_path / "store", TrackingConfig(mlflow=False), record()) is None
    assert not (tmp_path / "store").exists()


def no_writer(*args, **kwargs):
    pytest.fail("MLflow was started")


def test_a_locked_database_is_given_up_without_starting_mlflow(store, monkeypatch):
    monkeypatch.setattr(mlflow_store, "LOCK_TIMEOUT_S", 0.2)
    monkeypatch.setattr(subprocess, "Popen", no_writer)
    with closing(sqlite3.connect(store / "mlflow.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingFailed, match=r"run-9 to .*mlflow\.db: database is locked"):
            log_run(store, CONFIG, record("run-9"))


def test_a_broken_database_is_refused_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", no_writer)
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingFailed, match="file is not a database"):
        log_run(tmp_path, CONFIG, record())
    assert (tmp_path / "mlflow.db").read_bytes() == b"not a database" * 100


def test_a_store_that_cannot_be_made_is_a_failed_tracking(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(TrackingFailed, match="File exists"):
        log_run(tmp_path / "store", CONFIG, record())


def test_a_writer_that_hangs_is_killed_and_leaves_no_database(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "WRITER_TIMEOUT_S", 0.1)
    with pytest.raises(TrackingFailed, match=r"run-1 to .*mlflow\.db: no end after 0\.1 s"):
        log_run(tmp_path, CONFIG, record())
    assert not (tmp_path / "mlflow.db").exists()


def test_an_mlflow_that_cannot_be_imported_is_one_clear_cause(tmp_path, monkeypatch):
    (tmp_path / "mlflow.py").write_text("raise ImportError('libsomething.so is missing')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        TrackingFailed, match=r"run-1 to .*mlflow\.db: ImportError: libsomething\.so is missing\. The run"
    ):
        log_run(tmp_path / "store", CONFIG, record())


def test_a_full_disk_is_one_clear_cause_and_leaves_no_database(tmp_path):
    """A limit on the size of files stands in for the full disk: SQLite meets the same failed write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        with pytest.raises(TrackingFailed, match=r"OperationalError\) (disk I/O error|database or disk is full)"):
            log_run(tmp_path, CONFIG, record())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "mlflow.db").exists()


def test_the_writer_talks_to_nobody_and_loads_no_engine(store):
    code = (
        "import runpy, sys\n"
        "calls = []\n"
        "heard = ('socket.connect', 'socket.getaddrinfo')\n"
        "sys.addaudithook(lambda event, args: calls.append(str(args)) if event in heard else None)\n"
        "runpy.run_module('raytrain.tracking.mlflow_writer', run_name='__main__', alter_sys=True)\n"
        f"print(calls, sorted(set(sys.modules) & set({ENGINES})), 'mlflow' in sys.modules)"
    )
    # Not the test's own environment: MLflow is silent by itself where it smells a test or a CI machine.
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code, tracking_uri(store), (store / "artifacts").as_uri(), "raytrain"],
        input=json.dumps(vars(record("run-3"))),
        env=env | mlflow_store.WRITER_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[] [] True"
