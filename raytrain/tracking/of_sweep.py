"""A search as the tracker's record: a parent, and a child for each trial."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from raytrain.tracking.records import ChildRecord, RunRecord, Status

_STATUS: Mapping[str, Status] = {"complete": "FINISHED", "stopped early": "KILLED", "failed": "FAILED"}


def record_of_sweep(
    found: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    started_at: datetime,
    ended_at: datetime,
    artifacts: Sequence[Path] = (),
) -> RunRecord:
    """One parent for the search, one child per trial.

    Args:
        found: what `<store>/tuned/<family>-<target>.json` says.
        trials: number, state (`complete`, `stopped early`, `failed`), params, folds, value, cause.
        started_at: local time.
        ended_at: local time.
        artifacts: files to copy into the tracker.
    """
    holdout = found["holdout"] or {}
    measured = {found["metric"]: found["value"], f"default_{found['metric']}": found["default_value"]}
    measured |= {name: holdout.get(name) for name in ("gain", "low", "high", "loss", "default_loss")}
    counts = {f"trials_{state.replace(' ', '_')}": number for state, number in found["trials"].items()}
    return RunRecord(
        run_id=f"{found['sweep']} {started_at:%Y%m%d-%H%M%S}",
        started_at=_ms(started_at),
        ended_at=_ms(ended_at),
        status="FINISHED",
        params={name: str(value) for name, value in found["params"].items()},
        metrics={name: float(value) for name, value in (measured | counts).items() if value is not None},
        tags={
            "kind": "sweep",
            "family": found["family"],
            "target": found["target"],
            "answer": found["answer"],
            "dataset": found["dataset"],
            **{f"version.{name}": version for name, version in found["versions"].items()},
        },
        artifacts=artifacts,
        children=[_child(found, trial) for trial in trials],
    )


def _child(found: Mapping[str, Any], trial: Mapping[str, Any]) -> ChildRecord:
    metrics = {"folds": float(trial["folds"])}
    if trial["value"] is not None:
        metrics[found["metric"]] = float(trial["value"])
    return ChildRecord(
        family=found["family"],
        target=found["target"],
        name=f"trial {trial['number']}",
        status=_STATUS[trial["state"]],
        params={name: str(value) for name, value in trial["params"].items()},
        metrics=metrics,
        tags={"state": trial["state"]} | ({"cause": trial["cause"]} if trial["cause"] else {}),
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
