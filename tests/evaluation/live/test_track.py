"""Live forecasts scored by what happened, beside naive and the back-test."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raytrain.data.frame import Frame
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.live.track import LiveTable, track
from raytrain.features.targets import TargetConfig

Walk = Callable[..., pl.DataFrame]
Remember = Callable[..., Path]
NAIVE = {"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03}
ACTUAL = pl.col("actual").fill_null(0.0)
HALF = {"q0.1": ACTUAL / 2 - 0.02, "q0.5": ACTUAL / 2, "q0.9": ACTUAL / 2 + 0.02}


@pytest.fixture
def predictions(walk: Walk) -> pl.DataFrame:
    return pl.concat([walk("naive", **NAIVE), walk("half", **HALF)], how="vertical_relaxed")


def newest(table: pl.DataFrame, num: int) -> pl.DataFrame:
    days = table["date"].unique().sort()[-num:]
    return table.filter(pl.col("date").is_in(days.implode()))


def test_without_a_past_there_is_nothing(
    tmp_path: Path, frame: Frame, week: TargetConfig, predictions: pl.DataFrame
) -> None:
    found = track(tmp_path, frame, [week], predictions)
    assert found.rows.is_empty() and found.scores.is_empty() and found.drift.is_empty()
    assert (found.num_pending, found.warnings) == (0, ())


@pytest.fixture
def found(remember: Remember, frame: Frame, week: TargetConfig, predictions: pl.DataFrame, walk: Walk) -> LiveTable:
    """25 evenings of forecasts, the last five of which have no outcome."""
    return track(remember(newest(walk("half", **HALF), 25), [week]), frame, [week], predictions)


def test_every_figure_equals_a_loop(found: LiveTable, predictions: pl.DataFrame) -> None:
    rows = newest(predictions.filter(family="half"), 25).drop_nulls("actual").to_dicts()
    losses, naive = [], []
    for row in rows:
        for kept, quantiles in ((losses, {a: row[f"q{a}"] for a in (0.1, 0.5, 0.9)}),
                                (naive, {0.1: -0.03, 0.5: 0.0, 0.9: 0.03})):  # fmt: skip
            errors = {a: row["actual"] - q for a, q in quantiles.items()}
            kept.append(np.mean([max(a * e, (a - 1) * e) for a, e in errors.items()]))
    (score,) = found.scores.to_dicts()
    assert (score["family"], score["n"], score["n_dates"], found.num_pending) == ("half", 40, 20, 10)
    assert score["loss"] == pytest.approx(np.mean(losses))
    assert score["naive_loss"] == pytest.approx(np.mean(naive), rel=1e-6)
    assert score["skill"] == pytest.approx(1 - np.mean(losses) / np.mean(naive), rel=1e-6)
    assert score["directional_accuracy"] == 1.0
    assert score["coverage"] == pytest.approx(np.mean([abs(row["actual"]) <= 0.04 for row in rows]))


def test_each_forecast_carries_its_own_loss(found: LiveTable) -> None:
    known = found.rows.drop_nulls("actual")
    assert found.rows.height == 50 and known.height == 40
    (score,) = found.scores.to_dicts()
    for name, measure in (("loss", "loss"), ("naive_loss", "naive_loss"), ("inside", "coverage")):
        assert known[name].mean() == pytest.approx(score[measure])
        assert found.rows[name].null_count() == 10
    assert (known["right"] == 1).all()


def test_the_backtest_ends_before_the_first_judged_date(found: LiveTable, predictions: pl.DataFrame) -> None:
    (score,) = found.scores.to_dicts()
    earlier = predictions.filter(pl.col("date") < score["first_date"], family="half").drop_nulls("actual")
    assert score["backtest_n_dates"] == earlier["date"].n_unique() == 600 - 25
    inside = (earlier["actual"].abs() <= 0.04).mean()
    assert score["backtest_coverage"] == pytest.approx(inside)
    assert score["backtest_directional_accuracy"] == 1.0


def test_a_model_that_does_as_promised_raises_no_alarm(found: LiveTable) -> None:
    assert found.drift["measure"].to_list() == ["loss", "lead over naive", "coverage", "direction"]
    assert not found.drift["drifted"].any()
    assert found.warnings == ()
    row = found.drift.row(0, named=True)
    assert row["low"] < row["backtest"] < row["high"] and row["num_dates"] == 20


def test_a_model_that_has_lost_its_skill_is_told(
    remember: Remember, frame: Frame, week: TargetConfig, predictions: pl.DataFrame, walk: Walk
) -> None:
    """The back-test knows half of the outcome; what was given lies as far on the wrong side."""
    wrong = {"q0.1": -ACTUAL / 2 - 0.02, "q0.5": -ACTUAL / 2, "q0.9": -ACTUAL / 2 + 0.02}
    found = track(remember(newest(walk("half", **wrong), 25), [week]), frame, [week], predictions)
    drifted = dict(found.drift.select("measure", "drifted").iter_rows())
    assert drifted["loss"] and drifted["lead over naive"] and drifted["direction"]
    (warning,) = found.warnings
    said = "live forecasts of half on 20 dates are outside what the back-test promised at 99 % confidence: loss "
    assert warning.startswith(f"return_1w: {said}")
    assert "not the model" not in warning


def test_a_storm_that_hits_naive_as_well_is_not_blamed_on_the_model(
    remember: Remember, week: TargetConfig, frame: Frame, walk: Walk
) -> None:
    """Moves five times as large on the newest rows: all forecasts lose more, and ours stays ahead."""
    late = pl.int_range(pl.len()).over("series_id") >= 570
    grown = frame.table.with_columns(move=pl.col("close").log().diff().over("series_id").fill_null(0.0))
    grown = grown.with_columns(move=pl.when(late).then(pl.col("move") * 5).otherwise("move"))
    close = (100 * pl.col("move").cum_sum().exp()).over("series_id")
    storm = Frame(grown.with_columns(close=close).drop("move"), "close", "close", 252, "a storm")
    rows = storm.table.select("series_id", "date", close_now="close")
    ahead = rows.with_columns(after=pl.col("close_now").shift(-5).over("series_id"))
    moved = {
        "close": pl.col("close_now"),
        "price_actual": pl.col("after"),
        "actual": (pl.col("after") / pl.col("close_now")).log(),
    }
    tables = []
    for family, columns in (("naive", NAIVE), ("half", HALF)):
        table = walk(family).drop("actual", "close", "price_actual").join(ahead, on=["series_id", "date"])
        given = {name: pl.lit(value) if isinstance(value, float) else value for name, value in columns.items()}
        tables.append(table.with_columns(**moved).with_columns(**given).drop("close_now", "after"))
    predictions = pl.concat(tables, how="diagonal_relaxed")
    store = remember(newest(predictions.filter(family="half"), 25), [week])
    found = track(store, storm, [week], predictions)
    drifted = dict(found.drift.select("measure", "drifted").iter_rows())
    assert drifted["loss"] and not drifted["lead over naive"]
    assert found.warnings[0].endswith("its lead over naive is as usual, so the market has changed and not the model")


def test_a_family_that_is_not_in_the_run_is_scored_and_not_judged(
    remember: Remember, frame: Frame, week: TargetConfig, predictions: pl.DataFrame, walk: Walk
) -> None:
    store = remember(newest(walk("former", **HALF), 25), [week])
    found = track(store, frame, [week], predictions)
    (score,) = found.scores.to_dicts()
    assert score["skill"] > 0 and score["backtest_skill"] is None and found.drift.is_empty()
    alone = track(store, frame, [week], pl.DataFrame())
    assert alone.scores["skill"].item() is not None, "no change is the yardstick without a walk-forward"


def test_naive_that_was_given_is_measured_against_naive(
    remember: Remember, frame: Frame, week: TargetConfig, predictions: pl.DataFrame, walk: Walk
) -> None:
    wide = {"q0.1": -0.06, "q0.5": 0.0, "q0.9": 0.06}
    found = track(remember(newest(walk("naive", **wide), 25), [week]), frame, [week], predictions)
    (score,) = found.scores.to_dicts()
    assert score["family"] == "naive" and score["skill"] != 0 and score["backtest_skill"] == 0


def test_few_dates_are_shown_and_not_judged(
    remember: Remember, frame: Frame, week: TargetConfig, predictions: pl.DataFrame, walk: Walk
) -> None:
    store = remember(newest(walk("half", **HALF), 9), [week])
    found = track(store, frame, [week], predictions)
    assert found.scores["n_dates"].item() == 4 and found.drift.is_empty()
    config = EvaluationConfig(min_live_dates=4)
    assert track(store, frame, [week], predictions, config).drift["num_dates"].to_list() == [4] * 4


def test_the_newest_dates_are_judged(
    remember: Remember, frame: Frame, week: TargetConfig, predictions: pl.DataFrame, walk: Walk
) -> None:
    store = remember(newest(walk("half", **HALF), 45), [week])
    found = track(store, frame, [week], predictions, EvaluationConfig(max_live_dates=10))
    assert found.scores["n_dates"].item() == 40
    assert found.drift["num_dates"].to_list() == [10] * 4
    assert found.scores["backtest_n_dates"].item() == 600 - 15


def test_a_threshold_is_tracked_by_its_probability(remember: Remember, frame: Frame, walk: Walk) -> None:
    target = TargetConfig(kind="threshold", horizon=5, label="up", threshold=0.01)
    predictions = pl.concat([walk("naive", target, probability=0.4), walk("tree", target, probability=0.3)])
    found = track(remember(newest(predictions.filter(family="tree"), 25), [target]), frame, [target], predictions)
    (score,) = found.scores.to_dicts()
    rate = newest(predictions.filter(family="tree"), 25)["actual"].drop_nulls()
    assert score["brier"] == pytest.approx(((rate - 0.3) ** 2).mean()) == pytest.approx(score["loss"])
    assert score["backtest_brier"] is not None and math.isfinite(score["skill"])
    assert found.drift["measure"].to_list() == ["loss", "lead over naive"]


def test_runs_and_rows_in_any_order_give_the_same(
    remember: Remember, frame: Frame, week: TargetConfig, predictions: pl.DataFrame, found: LiveTable, tmp_path: Path
) -> None:
    shuffled = predictions.sample(fraction=1.0, shuffle=True, seed=3)
    again = track(tmp_path, frame, [week], shuffled)
    assert again.drift.equals(found.drift) and again.rows.equals(found.rows) and again.scores.equals(found.scores)
