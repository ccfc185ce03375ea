"""Everything beside the scores in one look, and on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raytrain.data.frame import Frame
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.insight import Insight, look_closer
from raytrain.evaluation.scoring.breakdown import breakdown, regimes_of
from raytrain.features.targets import TargetConfig
from raytrain.work.dataset import Dataset

CONFIG = EvaluationConfig(cost_bp=3, drift_rows=40, live_confidence=0.95)


@pytest.fixture
def dataset(frame: Frame) -> Dataset:
    """One feature that leaves its range on the newest rows, and ten that do not."""
    x = np.random.default_rng(0).normal(size=(frame.table.height, 11)).astype(np.float32)
    x[560:600, :4] += 50
    x[1160:, :4] += 50
    series = np.repeat(np.arange(2, dtype=np.int32), 600)
    arrays = {"x": x, "series": series, "usable": np.ones(1200, dtype=bool)}
    return Dataset({"features": [f"f{number}" for number in range(11)]}, arrays)


@pytest.fixture
def predictions(walk: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([walk("naive", **{"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03}), walk("har", **{"q0.5": 0.001})],
                     how="diagonal_relaxed")  # fmt: skip


def look(predictions: pl.DataFrame, frame: Frame, week: TargetConfig, dataset: Dataset, store: Path) -> Insight:
    return look_closer(
        predictions, frame, [week], dataset, store, regime="market_regime", config=CONFIG, confidence=0.8
    )


def test_config_reaches_every_part(
    predictions: pl.DataFrame, frame: Frame, week: TargetConfig, dataset: Dataset, tmp_path: Path
) -> None:
    found = look(predictions, frame, week, dataset, tmp_path)
    bars = frame.table.select("series_id", "date", "close")
    regimes = regimes_of(frame, "market_regime")
    expected = breakdown(predictions, bars, 252, regimes=regimes, config=CONFIG, confidence=0.8)
    assert found.breakdown.equals(expected)
    assert found.calibration["family"].unique().to_list() == ["naive"]
    assert found.feature_drift["num_stretches"].to_list() == [14] * 11
    assert found.live_confidence == 0.95
    (warning,) = found.warnings
    assert " on the last 40 rows than on any 40 rows before" in warning


def test_the_tables_are_kept(
    predictions: pl.DataFrame, frame: Frame, week: TargetConfig, dataset: Dataset, tmp_path: Path
) -> None:
    found = look(predictions, frame, week, dataset, tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    found.write(folder)
    assert pl.read_parquet(folder / "breakdown.parquet").equals(found.breakdown)
    names = {"breakdown", "calibration", "feature_drift", "live", "live_drift", "live_scores"}
    assert {path.stem for path in folder.iterdir()} == names


def test_without_forecasts_drift_is_still_looked_at(
    frame: Frame, week: TargetConfig, dataset: Dataset, tmp_path: Path
) -> None:
    found = look(pl.DataFrame(), frame, week, dataset, tmp_path)
    assert found.breakdown.is_empty() and found.calibration.is_empty() and found.live.rows.is_empty()
    assert found.feature_drift.height == 11
