"""MLflow's registry as a mirror of the journal of promotions.

The journal is the outbox too: what the registry does not show yet waits there, and is applied once, by the next run or
by `python -m raytrain.jobs.promote --sync`. Nothing that raytrain decides reads the registry.
"""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from raytrain.evaluation.champions.journal import Journal
from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.mlflow_store import DATABASE, write_to_mlflow
from raytrain.tracking.records import TrackingFailed
from raytrain.tracking.registry_state import APPLIED_TAG, ModelState, model_name, state_of
from raytrain.tracking.writer import cause


def sync_registry(store: Path, config: TrackingConfig, *, always: bool = False) -> int:
    """Let the registry show what the journal says.

    Args:
        store: the folder.
        config: nothing is done where `mlflow` is off.
        always: also when the registry says that it is up to date, as after somebody has moved an alias by hand.

    Returns:
        How many model versions were made.

    Raises:
        TrackingFailed: the registry is locked, broken, read-only, slow or not installed; the promotions wait.
        StoreCorrupt: the journal is damaged.
    """
    if not config.mlflow:
        return 0
    journal = Journal.read(store)
    behind = state_of(journal) if always else _behind(store, state_of(journal))
    if not behind:
        return 0
    try:
        return int(write_to_mlflow(store, "raytrain.tracking.registry_writer", config.experiment, behind))
    except (OSError, sqlite3.Error, subprocess.SubprocessError) as error:
        raise TrackingFailed(
            f"MLflow's registry in {store / DATABASE} could not be brought up to date: {cause(error)}. What was "
            f"promoted is in force; {waiting(journal)} promotions wait for the registry and are applied by the next "
            "run or by `python -m raytrain.jobs.promote --sync`"
        ) from error


def waiting(journal: Journal) -> int:
    """How many entries of the journal the registry does not show yet."""
    shown = _shown(journal.store)
    return sum(entry.seq > shown.get(model_name(entry.version.target), 0) for entry in journal.entries)


def _behind(store: Path, models: list[ModelState]) -> list[ModelState]:
    shown = _shown(store)
    return [model for model in models if shown.get(model.name, 0) < model.seq]


def _shown(store: Path) -> dict[str, int]:
    """Registered model -> the newest entry that it shows, read in a millisecond and without MLflow.

    Nothing where it cannot be read: then the process that talks to MLflow says why.
    """
    database = store / DATABASE
    if not database.exists():
        return {}
    query = "SELECT name, CAST(value AS INTEGER) FROM registered_model_tags WHERE key = ?"
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            return dict(connection.execute(query, (APPLIED_TAG,)).fetchall())
    except sqlite3.Error:
        return {}
