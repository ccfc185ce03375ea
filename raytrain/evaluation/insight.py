"""What a run says beyond its scores: where the skill is, whether quantiles are honest, and how live forecasts fare."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.live.feature_drift import drift_warnings, feature_drift
from raytrain.evaluation.live.track import LiveTable, track
from raytrain.evaluation.scoring.breakdown import breakdown, regimes_of
from raytrain.evaluation.scoring.calibration import calibration
from raytrain.features.targets import TargetConfig
from raytrain.work.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Insight:
    """Tables for the report and the run folder; those of forecasts are empty when no fit gave any."""

    breakdown: pl.DataFrame
    """See `raytrain.evaluation.scoring.breakdown.breakdown`."""
    calibration: pl.DataFrame
    """See `raytrain.evaluation.scoring.calibration.calibration`."""
    live: LiveTable
    feature_drift: pl.DataFrame
    """See `raytrain.evaluation.live.feature_drift.feature_drift`."""
    warnings: tuple[str, ...]
    """For the summary."""
    live_confidence: float
    """Of the live table's ranges."""

    def write(self, folder: Path) -> None:
        """Keep the tables as Parquet."""
        tables = {
            "breakdown": self.breakdown,
            "calibration": self.calibration,
            "live": self.live.rows,
            "live_scores": self.live.scores,
            "live_drift": self.live.drift,
            "feature_drift": self.feature_drift,
        }
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet", compression="zstd")


def look_closer(
    predictions: pl.DataFrame,
    frame: Frame,
    targets: Sequence[TargetConfig],
    dataset: Dataset,
    store: Path,
    *,
    regime: str | None,
    config: EvaluationConfig,
    confidence: float,
) -> Insight:
    """Everything that is shown beside the scores.

    Args:
        predictions: the walk-forward, as `raytrain.evaluation.scoring.scores.score` takes it; may be empty.
        frame: today's data.
        targets: today's targets.
        dataset: the features of the frame.
        store: the folder with earlier runs.
        regime: the column that names regimes; see `raytrain.evaluation.scoring.breakdown.regime_column`.
        config: the strategy and what drift is.
        confidence: of intervals of skill.
    """
    bars = frame.table.select(SERIES, DATE, pl.col(frame.price).alias("close"))
    regimes = None if regime is None else regimes_of(frame, regime)
    groups = levels = pl.DataFrame()
    if not predictions.is_empty():
        years = frame.periods_per_year
        groups = breakdown(predictions, bars, years, regimes=regimes, config=config, confidence=confidence)
        levels = calibration(predictions)
    live = track(store, frame, targets, predictions, config, confidence=confidence)
    arrays, rows = dataset.arrays, config.drift_rows
    drift = feature_drift(dataset.meta["features"], dataset.x, arrays["series"], arrays["usable"], rows)
    return Insight(
        breakdown=groups,
        calibration=levels,
        live=live,
        feature_drift=drift,
        warnings=(*live.warnings, *drift_warnings(drift, rows)),
        live_confidence=config.live_confidence,
    )
