"""Log a finished run to MLflow on SQLite, within a bounded time.

MLflow runs in a process of its own (`mlflow_writer`): it would wait 20 s for a lock at each statement, retry a broken
file for 100 s and import half a gigabyte of libraries into the driver; a process can be given a time and killed.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from numbers import Real
from pathlib import Path
from typing import Any

from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.records import RunRecord, TrackingFailed

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
LOCK_TIMEOUT_S = 5.0
WRITER_TIMEOUT_S = 90.0
"""Two to four seconds are normal; the rest is for a machine under full load."""

WRITER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


def tracking_uri(store: Path) -> str:
    """What `mlflow ui --backend-store-uri` takes to show the runs of a store."""
    return _uri(store / DATABASE)


def log_run(store: Path, config: TrackingConfig, record: RunRecord) -> str | None:
    """Write one parent run and its children into `<store>/mlflow.db`, creating it when absent.

    The first run is written into a new file that then takes the name, so a kill never leaves half a database.
    Runs of ours that a killed writer left RUNNING are ended as KILLED.

    Returns:
        MLflow's id of the parent run; None when tracking is off.

    Raises:
        TrackingFailed: locked for 5 s, broken, no space, no MLflow, or over 90 s. The run's results are not affected.
    """
    if not config.mlflow:
        return None
    database = store / DATABASE
    try:
        target = database if database.exists() else _fresh(store)
        _check_writable(target)
        mlflow_run_id = _write(target, store / ARTIFACTS, config.experiment, record)
        if target != database:
            os.replace(target, database)
    except (OSError, sqlite3.Error, subprocess.SubprocessError) as error:
        raise TrackingFailed(
            f"MLflow could not log run {record.run_id} to {database}: {_cause(error)}. "
            "The run's results are complete without it; `tracking.mlflow: false` turns tracking off"
        ) from error
    return mlflow_run_id


def _fresh(store: Path) -> Path:
    """A name for a new database, with what a killed run left of it removed: SQLite would replay its journal."""
    store.mkdir(parents=True, exist_ok=True)
    for left_over in store.glob(f"{DATABASE}.new*"):
        left_over.unlink()
    return store / f"{DATABASE}.new"


def _check_writable(database: Path) -> None:
    """Fail soon and with a plain cause, where MLflow would wait and retry."""
    with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _write(database: Path, artifacts: Path, experiment: str, record: RunRecord) -> str:
    command = [sys.executable, "-m", "raytrain.tracking.mlflow_writer"]
    command += [_uri(database), artifacts.resolve().as_uri(), experiment]
    done = subprocess.run(
        command,
        input=json.dumps(record, default=_plain),
        env={**os.environ, **WRITER_ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=WRITER_TIMEOUT_S,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def _cause(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no end after {error.timeout:g} s"
    if isinstance(error, subprocess.CalledProcessError) and error.returncode > 0 and error.stderr.strip():
        return str(error.stderr.strip().splitlines()[-1])
    return str(error)


def _uri(database: Path) -> str:
    return f"sqlite:///{database.resolve()}"


def _plain(value: Any) -> Any:
    """What JSON does not know: records, paths, other mappings and other numbers."""
    if isinstance(value, Path):
        return str(value.resolve())
    if isinstance(value, Real):
        return float(value)
    return dict(value) if isinstance(value, Mapping) else vars(value)
