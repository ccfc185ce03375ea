"""A search as the tracker's record."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.mlflow_store import log_run
from raytrain.tracking.of_sweep import record_of_sweep
from raytrain.tracking.records import RunRecord

FOUND: dict[str, Any] = {
    "family": "lightgbm",
    "target": "return_1w",
    "answer": "better",
    "params": {"num_leaves": 7},
    "metric": "skill",
    "value": 0.05,
    "default_value": 0.04,
    "holdout": {"gain": 0.1, "low": 0.01, "high": 0.2, "loss": 0.9, "default_loss": 1.0},
    "trials": {"complete": 1, "stopped early": 1, "failed": 1},
    "dataset": "0" * 32,
    "versions": {"lightgbm": "4.7.0"},
    "sweep": "lightgbm-return_1w-0123456789",
}
TRIALS: list[dict[str, Any]] = [
    {"number": 0, "state": "complete", "params": {"num_leaves": 7}, "folds": 3, "value": 0.05, "cause": ""},
    {"number": 1, "state": "stopped early", "params": {"num_leaves": 9}, "folds": 1, "value": 0.01, "cause": ""},
    {"number": 2, "state": "failed", "params": {"num_leaves": 5}, "folds": 0, "value": None, "cause": "it broke"},
]


@pytest.fixture
def record() -> RunRecord:
    began = datetime(2026, 11, 20, 8, 0, 0)
    return record_of_sweep(FOUND, TRIALS, began, began + timedelta(minutes=5))


def test_a_trial_is_a_child_with_its_end(record: RunRecord) -> None:
    assert [child.status for child in record.children] == ["FINISHED", "KILLED", "FAILED"]
    assert [child.name for child in record.children] == ["trial 0", "trial 1", "trial 2"]
    assert record.children[1].metrics == {"folds": 1, "skill": 0.01}
    assert record.children[2].tags == {"state": "failed", "cause": "it broke"}
    assert record.metrics["gain"] == 0.1
    assert record.metrics["default_skill"] == 0.04
    assert record.metrics["trials_stopped_early"] == 1
    assert record.ended_at - record.started_at == 300_000


def test_a_search_without_a_comparison_has_no_gain() -> None:
    now = datetime(2026, 11, 20)
    record = record_of_sweep(FOUND | {"holdout": None}, [], now, now)
    assert "gain" not in record.metrics


def test_mlflow_shows_a_search_as_a_parent_with_its_trials(record: RunRecord, tmp_path: Path) -> None:
    parent = log_run(tmp_path, TrackingConfig(), record)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        runs = connection.execute("SELECT name, run_uuid, status FROM runs").fetchall()
        named = {uuid: name for name, uuid, _ in runs}
        tags = connection.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'").fetchall()
        skills = connection.execute("SELECT run_uuid, value FROM metrics WHERE key = 'skill'").fetchall()
        params = connection.execute("SELECT run_uuid, value FROM params WHERE key = 'num_leaves'").fetchall()
    assert {name: status for name, _, status in runs} == {
        record.run_id: "FINISHED",
        "trial 0": "FINISHED",
        "trial 1": "KILLED",
        "trial 2": "FAILED",
    }
    assert {named[child]: up for child, up in tags} == dict.fromkeys(("trial 0", "trial 1", "trial 2"), parent)
    assert {named[run]: value for run, value in skills} == {record.run_id: 0.05, "trial 0": 0.05, "trial 1": 0.01}
    assert {named[run]: value for run, value in params}["trial 2"] == "5"
