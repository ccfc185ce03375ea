"""A finished run as the tracker's record."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from raytrain.evaluation.gates.decision import Decision
from raytrain.evaluation.scoring.breakdown import group_metrics
from raytrain.tracking.records import ChildRecord, RunRecord, Status

_STATUS: Mapping[str, Status] = {"ok": "FINISHED", "partial": "FAILED", "stopped": "KILLED"}
_RENAMED = {"mape": "val_mape"}
_METRICS = (
    "mape",
    "smape",
    "rmse",
    "pinball_loss",
    "crps",
    "coverage",
    "directional_accuracy",
    "sharpe",
    "sharpe_error",
    "sharpe_long",
    "max_drawdown",
    "turnover",
    "naive_mape",
    "naive_crps",
    "skill",
    "skill_low",
    "skill_high",
    "fold_wins",
    "brier",
    "log_loss",
    "roc_auc",
    "precision",
)


def record_of(
    summary: Mapping[str, Any],
    scores: pl.DataFrame,
    decisions: Sequence[Decision],
    params: Mapping[str, Mapping[str, Any]],
    artifacts: Sequence[Path],
    *,
    breakdown: pl.DataFrame | None = None,
) -> RunRecord:
    """One parent for the run, one child per family and target.

    With a breakdown (see `raytrain.evaluation.scoring.breakdown`), the children carry `mape_<group>` and
    `sharpe_<group>` for each regime and season.
    """
    started = int(datetime.fromisoformat(summary["started_at"]).timestamp() * 1000)
    by_recipe = {(decision.target, decision.family): decision for decision in decisions}
    groups = pl.DataFrame() if breakdown is None else breakdown
    children = [
        _child(row, by_recipe[row["target"], row["family"]], params[row["family"]], groups)
        for row in scores.iter_rows(named=True)
    ]
    measured = {name: summary[name] for name in ("wall_s", "cpu_s", "utilisation", "lower_bound_s")}
    counts = {f"fits_{name}": value for name, value in summary["fits"].items()}
    return RunRecord(
        run_id=summary["run_id"],
        started_at=started,
        ended_at=started + int(summary["wall_s"] * 1000),
        status=_STATUS[summary["status"]],
        params={f"data.{name}": str(value) for name, value in summary["data"].items()},
        metrics={name: float(value) for name, value in (measured | counts).items() if value is not None},
        tags={"data_hash": summary["data"]["hash"]} | {f"version.{k}": v for k, v in summary["versions"].items()},
        artifacts=artifacts,
        children=children,
    )


def _child(row: Mapping[str, Any], decision: Decision, params: Mapping[str, Any], groups: pl.DataFrame) -> ChildRecord:
    metrics = {_RENAMED.get(name, name): float(row[name]) for name in _METRICS if row.get(name) is not None}
    metrics |= group_metrics(groups, row["family"], row["target"])
    for rule in decision.rules:
        if rule.name == "mape":
            metrics["meets_mape_threshold"] = float(rule.passed)
    return ChildRecord(
        family=row["family"],
        target=row["target"],
        params={name: str(value) for name, value in params.items()},
        metrics=metrics,
        tags={"decision": decision.verdict, "reason": decision.reason, "horizon": str(row["horizon"])},
    )
