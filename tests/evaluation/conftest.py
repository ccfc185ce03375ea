"""A market of two series and forecasts of it, as long tables."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.data.config import DataConfig
from raytrain.data.frame import Frame, make_frame
from raytrain.evaluation.gates.comparison import Comparison
from raytrain.evaluation.gates.deflated import Deflated
from raytrain.evaluation.gates.diebold_mariano import DieboldMariano
from raytrain.evaluation.gates.evidence import Evidence
from raytrain.evaluation.gates.parity import Parity
from raytrain.evaluation.gates.windows import Crisis
from raytrain.features.targets import TargetConfig, build_target

Forecast = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def bars() -> pl.DataFrame:
    """400 dates of two independent random walks, 1 % a day."""
    rng = np.random.default_rng(3)
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(400)]
    series = [
        pl.DataFrame({"series_id": name, "date": days, "close": 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))})
        for name in ("A", "B")
    ]
    return pl.concat(series)


@pytest.fixture
def rows(bars: pl.DataFrame) -> Callable[[int], pl.DataFrame]:
    """The outcome of each bar at a horizon, in four folds of 100 dates; the newest rows are not known yet."""

    def make(horizon: int) -> pl.DataFrame:
        later = pl.col("close").shift(-horizon).over("series_id")
        index = pl.int_range(pl.len()).over("series_id")
        return bars.with_columns(
            label_date=pl.col("date").shift(-horizon).over("series_id"),
            price_actual=later,
            actual=(later / pl.col("close")).log(),
            fold=pl.format("fold{}", index // 100),
        )

    return make


@pytest.fixture
def forecast(rows: Callable[[int], pl.DataFrame]) -> Callable[..., pl.DataFrame]:
    """Forecasts of one family: quantiles as columns or functions of the outcome; null by default."""

    def make(
        family: str,
        *,
        horizon: int = 5,
        kind: str = "return",
        label: str = "1w",
        method: str = "log",
        seed: int = 42,
        **columns: pl.Expr | float,
    ) -> pl.DataFrame:
        empty = {name: pl.lit(None, dtype=pl.Float32) for name in ("q0.1", "q0.5", "q0.9", "probability")}
        given = {name: pl.lit(value) if isinstance(value, float) else value for name, value in columns.items()}
        return rows(horizon).select(
            pl.lit(family).alias("family"),
            pl.lit(f"{kind}_{label}").alias("target"),
            pl.lit(kind).alias("kind"),
            pl.lit(label).alias("label"),
            pl.lit(horizon).alias("horizon"),
            pl.lit(method).alias("method"),
            "fold",
            pl.lit(seed).alias("seed"),
            "series_id",
            "date",
            "label_date",
            "actual",
            "close",
            "price_actual",
            **{name: (empty | given)[name].cast(pl.Float32) for name in empty},
        )

    return make


@pytest.fixture
def good_row() -> Callable[..., dict[str, Any]]:
    """The scores of a candidate that passes every rule by far, with changes."""

    def make(**changes: Any) -> dict[str, Any]:
        row = {
            "family": "lightgbm",
            "target": "return_1w",
            "kind": "return",
            "label": "1w",
            "horizon": 5,
            "judged_by": "skill",
            "n": 500,
            "mape": 0.01,
            "naive_mape": 0.0105,
            "sharpe": 2.0,
            "sharpe_long": 0.5,
            "skill": 0.03,
            "skill_low": 0.01,
            "skill_high": 0.05,
            "fold_wins": 1.0,
            "coverage": 0.8,
            "coverage_nominal": 0.8,
            "directional_accuracy": 0.55,
            "n_calls": 500,
            "roc_auc": None,
            "first_date": date(2015, 1, 2),
            "last_date": date(2018, 12, 31),
        }
        return row | changes

    return make


@pytest.fixture
def good_comparison() -> Callable[..., Comparison]:
    """Surely better than some other, with changes."""

    def make(**changes: Any) -> Comparison:
        values = {
            "other": "har",
            "skill": 0.02,
            "low": 0.01,
            "high": 0.03,
            "test": DieboldMariano(statistic=5.0, p_value=1e-6, num_dates=500),
            "mape": 0.01,
            "other_mape": 0.011,
            "first_date": "2016-01-04",
            "last_date": "2018-12-28",
        }
        return Comparison(**(values | changes))

    return make


@pytest.fixture
def good_evidence(good_comparison: Callable[..., Comparison]) -> Callable[..., Evidence]:
    """What else is known of the same candidate, with changes: one crisis, HAR, a champion, an accelerator."""

    def make(**changes: Any) -> Evidence:
        crisis = Crisis(
            name="2015 yuan",
            first_date="2015-08-10",
            last_date="2015-10-30",
            excess_loss=0.0,
            drawdown=0.05,
            drawdown_long=0.1,
        )
        values: dict[str, Any] = {
            "num_recipes": 3,
            "naive": DieboldMariano(statistic=5.0, p_value=1e-6, num_dates=500),
            "har": good_comparison(),
            "har_skill": 0.01,
            "champion": good_comparison(other="xgboost"),
            "commoner_direction": 0.52,
            "coverage_interval": (0.77, 0.83),
            "deflated": Deflated(probability=0.99, luckiest=0.05, num_recipes=3),
            "crises": (crisis,),
            "parity": Parity(device="mps", num_rows=100, difference=1e-4),
        }
        return Evidence(**(values | changes))

    return make


@pytest.fixture
def frame() -> Frame:
    """600 business days of two random walks, 1 % a day, with a regime on most rows."""
    rng = np.random.default_rng(5)
    days = pl.date_range(pl.date(2018, 1, 1), pl.date(2024, 1, 1), "1d", eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(600)
    tables = [
        pl.DataFrame(
            {
                "series_id": name,
                "date": days,
                "close": 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 600))),
                "market_regime": [None if i % 7 == 0 else "calm" if i % 3 else "storm" for i in range(600)],
            }
        )
        for name in ("A", "B")
    ]
    return make_frame(pl.concat(tables), DataConfig(kind="parquet"), "a test", "none")


@pytest.fixture
def week() -> TargetConfig:
    return TargetConfig(horizon=5, label="1w")


@pytest.fixture
def walk(frame: Frame, week: TargetConfig) -> Callable[..., pl.DataFrame]:
    """Forecasts of one family on every row of the frame, as a walk-forward gives them."""

    def make(family: str, target: TargetConfig = week, **columns: pl.Expr | float) -> pl.DataFrame:
        labels = build_target(frame, target)
        given = {name: pl.lit(value) if isinstance(value, float) else value for name, value in columns.items()}
        empty = {name: pl.lit(None, pl.Float32) for name in ("q0.1", "q0.5", "q0.9", "probability")}
        outcomes = frame.table.select("series_id", "date", "close").hstack(
            [labels["y"].alias("actual"), labels["label_date"], labels["price_ahead"].alias("price_actual")]
        )
        return outcomes.with_columns(
            family=pl.lit(family),
            target=pl.lit(target.name),
            kind=pl.lit(target.kind),
            label=pl.lit(target.label),
            horizon=pl.lit(target.horizon),
            method=pl.lit(target.method),
            fold=pl.col("date").dt.year().cast(pl.String),
            seed=pl.lit(42),
            **(empty | given),
        )

    return make


@pytest.fixture
def remember(tmp_path: Path) -> Callable[..., Path]:
    """Leave the forecasts of some dates in the store as runs of those evenings did; returns the store."""

    def write(forecasts: pl.DataFrame, targets: Sequence[TargetConfig], **changes: Any) -> Path:
        for day, rows in forecasts.group_by("date", maintain_order=True):
            started = datetime.combine(day[0].date(), time(18, 5), UTC)
            about = {"run_id": f"{started:%Y%m%dT%H%M%SZ}-{changes.get('tail', 'aaaa')}"}
            about |= {"started_at": started.isoformat(), "targets": [one.model_dump(mode="json") for one in targets]}
            folder = tmp_path / "runs" / about["run_id"]
            folder.mkdir(parents=True)
            quantiles = [name for name in rows.columns if name.startswith("q0")]
            columns = ["target", "label", "horizon", "family", "series_id", "date", "close", *quantiles, "probability"]
            rows.select(*columns, verdict=pl.lit("HOLD")).write_parquet(folder / "forecast.parquet")
            (folder / "summary.json").write_text(json.dumps(about | changes.get("about", {})))
        return tmp_path

    return write


@pytest.fixture
def with_positions() -> Callable[[pl.DataFrame, pl.Expr | float | None], pl.DataFrame]:
    """The same forecasts with positions, or with a column of none."""

    def take(table: pl.DataFrame, position: pl.Expr | float | None) -> pl.DataFrame:
        given = position if isinstance(position, pl.Expr) else pl.lit(position, pl.Float64)
        return table.with_columns(position=given.cast(pl.Float64))

    return take
