"""What the page shows: everything a run left behind, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from raytrain.evaluation.gates.decision import Decision
from raytrain.evaluation.insight import Insight
from raytrain.features.correlations.table import Correlations

YARDSTICK = "naive"
"""The family that every other one is measured against; it never asks for promotion."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """One finished run. Any table may be empty, with or without its columns; a null is shown as a dash."""

    summary: Mapping[str, Any]
    """The content of `summary.json`: run_id, status, started_at (ISO), fits (total, ok, cached, failed, timeout, oom,
    skipped, stopped), wall_s, cpu_s, utilisation (0 to 1; None when nothing ran), lower_bound_s, data (hash, rows,
    names of the series, first_date, last_date, source), machine (name, pcores, ecores, memory_gb, slot), versions
    (name -> version), heat (text), warnings (texts)."""
    scores: pl.DataFrame
    """A row per family and target: family, target, kind, label, horizon (rows), n, loss, mape, rmse,
    coverage, coverage_nominal, directional_accuracy, sharpe, sharpe_long, naive_mape, skill, skill_low, skill_high,
    fold_wins, judged_by, net_return, net_return_low, net_return_high. Shares, not percent."""
    fold_scores: pl.DataFrame
    """A row per family, target and fold: family, target, label, horizon, fold, n, loss, naive_loss, skill."""
    decisions: Sequence[Decision]
    predictions: pl.DataFrame
    """The test rows, one per seed: family, target, kind, label, horizon, method, fold, series_id, date, label_date,
    close, actual and price_actual (null while unknown), one column `q<level>` per quantile level (forward change by
    `method`, as `actual` is), probability."""
    forecast: pl.DataFrame
    """After the last row: target, label, horizon, family, verdict, series_id, date (origin), target_date (may be
    null or absent), close, `q<level>`, `price_q<level>`, probability."""
    fits: pl.DataFrame
    """A row per fit: key, label, family, target, fold, lane, engine, worker, start_s and end_s (seconds since the run
    began; null for a stored fit), wall_s, cpu_s, peak_memory_bytes, threads, device, status (ok, cached, failed,
    timeout, oom, skipped, stopped)."""
    failures: Sequence[Mapping[str, Any]]
    """A mapping per failed fit: family, target, fold, phase, exception, memory (bytes at death, or text), advice."""
    correlations: Correlations | None = None
    """How the columns move together; None when nobody asked."""
    insight: Insight | None = None
    """Where the skill is, calibration, live forecasts and drift; None when nobody looked."""


def levels(frame: pl.DataFrame) -> list[float]:
    """The quantile levels of a table, rising, from its `q<level>` columns."""
    names = (name.removeprefix("q") for name in frame.columns if name.startswith("q"))
    return sorted(float(name) for name in names if name.replace(".", "", 1).isdigit())


def targets(frame: pl.DataFrame) -> list[tuple[str, str, int]]:
    """The (target, label, horizon) found in a table, nearest horizon first."""
    if frame.is_empty():
        return []
    found = frame.select("target", "label", "horizon").unique().sort("horizon", "target")
    return [(target, label, horizon) for target, label, horizon in found.iter_rows()]
