"""Log a finished run to MLflow on SQLite, within a bounded time.

MLflow runs in a process of its own (`mlflow_writer`): it would wait 20 s for a lock at each statement, retry a broken
file for 100 s and import half a gigabyte of libraries into the driver; a process can be given a time and killed.
"""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.records import RunRecord, TrackingFailed
from raytrain.tracking.writer import call_writer, cause

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
LOCK_TIMEOUT_S = 5.0

WRITER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


def tracking_uri(store: Path) -> str:
    """What `mlflow ui --backend-store-uri` takes to show the runs of a store."""
    return _uri(store / DATABASE)


def log_run(store: Path, config: TrackingConfig, record: RunRecord) -> str | None:
    """Write one parent run and its children into `<store>/mlflow.db`, creating it when absent.

    Runs of ours that a killed writer left RUNNING are ended as KILLED.

    Returns:
        MLflow's id of the parent run; None when tracking is off.

    Raises:
        TrackingFailed: locked for 5 s, broken, no space, no MLflow, or over 90 s. The run's results are not affected.
    """
    if not config.mlflow:
        return None
    try:
        return write_to_mlflow(store, "raytrain.tracking.mlflow_writer", config.experiment, record)
    except (OSError, sqlite3.Error, subprocess.SubprocessError) as error:
        raise TrackingFailed(
            f"MLflow could not log run {record.run_id} to {store / DATABASE}: {cause(error)}. "
            "The run's results are complete without it; `tracking.mlflow: false` turns tracking off"
        ) from error


def write_to_mlflow(store: Path, module: str, experiment: str, told: Any) -> str:
    """Let `python -m MODULE URI ARTIFACTS EXPERIMENT` write what it is told; one process at a time.

    The first writes go into a new file that then takes the name, so a kill never leaves half a database.

    Returns:
        The last line that the module prints.

    Raises:
        OSError: another process of ours has been writing for 5 s, or the folder cannot be written.
        sqlite3.Error: the database is locked, read-only or broken.
        subprocess.SubprocessError: MLflow refused, or did not end in time.
    """
    store.mkdir(parents=True, exist_ok=True)
    with FileLock(store / ".mlflow.lock", timeout=LOCK_TIMEOUT_S), _database(store) as database:
        arguments = [_uri(database), (store / ARTIFACTS).resolve().as_uri(), experiment]
        return call_writer(module, arguments, told, WRITER_ENVIRONMENT)


@contextmanager
def _database(store: Path) -> Iterator[Path]:
    """The store's database, or a new one that takes its name when the block ends well."""
    database, fresh = store / DATABASE, store / f"{DATABASE}.new"
    if database.exists():
        _check_writable(database)
        yield database
        return
    # SQLite would replay the journal that a killed writer left beside its new file.
    for left_over in store.glob(f"{DATABASE}.new*"):
        left_over.unlink()
    _check_writable(fresh)
    yield fresh
    os.replace(fresh, database)


def _check_writable(database: Path) -> None:
    """Fail soon and with a plain cause, where MLflow would wait and retry."""
    with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _uri(database: Path) -> str:
    return f"sqlite:///{database.resolve()}"
