"""A market of two series and forecasts of it, as long tables."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

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
