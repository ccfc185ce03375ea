"""Shares below and between quantiles, against plain counts, and how sure they are."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from raytrain.evaluation.scoring.calibration import SCHEMA, calibration

Forecast = Callable[..., pl.DataFrame]


@pytest.fixture
def predictions(forecast: Forecast) -> pl.DataFrame:
    naive = forecast("naive", **{"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03})
    return pl.concat([naive, forecast("narrow", **{"q0.1": -0.01, "q0.5": 0.001, "q0.9": 0.01})])


def test_shares_equal_plain_counts(predictions: pl.DataFrame) -> None:
    found = calibration(predictions).filter(family="narrow")
    actual = predictions.filter(family="narrow")["actual"].drop_nulls().to_numpy()
    ends = [np.float32(-0.01), np.float32(0.001), np.float32(0.01)]
    below = [(actual <= end).mean() for end in ends] + [1.0]
    assert found["level"].to_list() == [0.1, 0.5, 0.9, 1.0]
    assert found["low_level"].to_list() == [0.0, 0.1, 0.5, 0.9]
    assert found["share_below"].to_list() == pytest.approx(below)
    assert found["share"].to_list() == pytest.approx(np.diff([0.0, *below]))
    assert (found["n"] == 790).all()


def test_naive_stands_beside_at_the_same_levels(predictions: pl.DataFrame, forecast: Forecast) -> None:
    found = calibration(predictions)
    mine, naive = (found.filter(family=name) for name in ("narrow", "naive"))
    assert mine["naive_share"].to_list() == naive["share"].to_list() == naive["naive_share"].to_list()
    alone = calibration(forecast("narrow", **{"q0.1": -0.01, "q0.5": 0.001, "q0.9": 0.01}))
    assert alone["naive_share"].null_count() == alone.height == 4
    assert alone["share"].to_list() == mine["share"].to_list()


def test_points_and_probabilities_have_no_calibration(forecast: Forecast) -> None:
    point = forecast("point", **{"q0.5": 0.001})
    label = forecast("label", kind="threshold", probability=0.5).with_columns(actual=(pl.col("actual") > 0).cast(float))
    found = calibration(pl.concat([point, label]))
    assert found.is_empty() and dict(found.schema) == SCHEMA


def test_the_error_covers_overlapping_forecasts_of_series_that_move_together(forecast: Forecast) -> None:
    """Two series with the same outcomes, 21 rows ahead: independent rows would be believed four times too much."""
    rng = np.random.default_rng(0)
    table = forecast("ours", horizon=21, label="1m", **{"q0.1": -1.2816, "q0.5": 0.0, "q0.9": 1.2816})
    one = table.filter(series_id="A")
    shares, errors = [], []
    for _ in range(60):
        steps = rng.normal(size=420) / np.sqrt(21)
        outcome = np.convolve(steps, np.ones(21), "valid")[:400]
        both = [one.with_columns(actual=pl.Series(outcome), price_actual=pl.lit(100.0), series_id=pl.lit(name))
                for name in ("A", "B")]  # fmt: skip
        row = calibration(pl.concat(both)).row(1, named=True)
        shares.append(row["share_below"])
        errors.append(row["error"])
    assert np.mean(shares) == pytest.approx(NormalDist().cdf(0), abs=0.06)
    believed = np.sqrt(0.25 / 800)
    assert np.std(shares) > 4 * believed
    assert np.mean(errors) == pytest.approx(np.std(shares), rel=0.35)
