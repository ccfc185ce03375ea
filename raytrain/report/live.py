"""What earlier runs forecast and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from raytrain.evaluation.insight import Insight
from raytrain.evaluation.live.track import LiveTable
from raytrain.features.targets import ahead_to_price
from raytrain.report.view import levels
from raytrain.report.words import day, percent, significant

MAX_NEWEST = 30
MAX_FEATURES = 12
_SHARES = ("coverage", "direction", "lead over naive")
"""Measures that are read in percent."""


@dataclass(frozen=True, kw_only=True)
class Became:
    """One forecast whose outcome is known; prices, or a probability and 0 or 1."""

    label: str
    target: str
    family: str
    series_id: str
    origin: str
    known_on: str
    close: float
    low: float | None
    median: float | None
    high: float | None
    actual: float | None
    inside: bool | None
    right: bool | None
    probability: float | None


@dataclass(frozen=True, kw_only=True)
class LiveSection:
    """What the page shows of live forecasts."""

    scores: list[dict[str, Any]]
    drift: list[dict[str, str | bool]]
    newest: list[Became]
    num_known: int
    num_pending: int


def live_context(insight: Insight | None) -> dict[str, Any]:
    """What `live.jinja` shows."""
    return {
        "live": live_section(insight.live) if insight else None,
        "live_confidence": insight.live_confidence if insight else None,
        "feature_drift": feature_rows(insight.feature_drift) if insight else [],
    }


def live_section(live: LiveTable) -> LiveSection:
    """The newest outcomes first."""
    known = live.rows if live.rows.is_empty() else live.rows.drop_nulls("actual")
    newest = known if known.is_empty() else known.sort("label_date", descending=True, maintain_order=True)
    return LiveSection(
        scores=live.scores.to_dicts(),
        drift=[_drift_row(row) for row in live.drift.iter_rows(named=True)],
        newest=[_became(row) for row in _priced(newest.head(MAX_NEWEST))],
        num_known=known.height,
        num_pending=live.num_pending,
    )


def feature_rows(found: pl.DataFrame) -> list[dict[str, Any]]:
    """The features that drifted most, of `raytrain.evaluation.live.feature_drift.feature_drift`."""
    return found.head(MAX_FEATURES).to_dicts()


def _priced(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Low, median and high as prices of today's data: those of the forecast may have been revised since."""
    if rows.is_empty():
        return []
    names = [f"q{level:g}" for level in levels(rows)]
    ends = {"low": names[0], "median": "q0.5", "high": names[-1]} if "q0.5" in names else {}
    found = []
    for method in rows["method"].unique(maintain_order=True):
        part = rows.filter(pl.col("method") == method)
        prices = [ahead_to_price(pl.col("close"), pl.col(name), method).alias(end) for end, name in ends.items()]
        found.append(part.with_columns(prices))
    return pl.concat(found, how="diagonal").to_dicts()


def _became(row: Mapping[str, Any]) -> Became:
    threshold = row["kind"] == "threshold"
    return Became(
        label=row["label"],
        target=row["target"],
        family=row["family"],
        series_id=row["series_id"],
        origin=day(row["date"]),
        known_on=day(row["label_date"]),
        close=row["close"],
        low=row.get("low"),
        median=row.get("median"),
        high=row.get("high"),
        actual=row["actual"] if threshold else row["price_actual"],
        inside=None if row["inside"] is None else bool(row["inside"]),
        right=None if row["right"] is None else bool(row["right"]),
        probability=row["probability"] if threshold else None,
    )


def _drift_row(row: Mapping[str, Any]) -> dict[str, str | bool]:
    shown = percent if row["measure"] in _SHARES else significant
    numbers = {name: shown(row[name]) for name in ("live", "backtest", "low", "high")}
    names = {name: str(row[name]) for name in ("family", "target", "label", "measure", "num_dates")}
    return {**names, **numbers, "drifted": row["drifted"]}
