import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.errors import DataError
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.scores import notes, score, score_by_fold

Forecast = Callable[..., pl.DataFrame]

ACTUAL = pl.col("actual").fill_null(0.0)


@pytest.fixture
def naive(forecast: Forecast) -> pl.DataFrame:
    return forecast("naive", **{"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03})


@pytest.fixture
def skilled(forecast: Forecast) -> pl.DataFrame:
    """Half of the outcome is known, and the rest is covered."""
    return forecast("skilled", **{"q0.1": ACTUAL / 2 - 0.02, "q0.5": ACTUAL / 2, "q0.9": ACTUAL / 2 + 0.02})


def one(scores: pl.DataFrame, family: str) -> dict[str, object]:
    return scores.row(by_predicate=pl.col("family") == family, named=True)


def pinball(y: float, q: float, level: float) -> float:
    return max(level * (y - q), (level - 1) * (y - q))


def test_every_measure_equals_a_loop(naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    found = one(score(pl.concat([naive, skilled]), bars, 252), "skilled")
    rows = [row for row in skilled.iter_rows(named=True) if row["actual"] is not None]
    n = len(rows)
    loss = sum(pinball(r["actual"], r[f"q{a}"], a) for r in rows for a in (0.1, 0.5, 0.9)) / (3 * n)
    q_naive = {0.1: np.float32(-0.03), 0.5: 0.0, 0.9: np.float32(0.03)}
    naive_loss = sum(pinball(r["actual"], q_naive[a], a) for r in rows for a in q_naive) / (3 * n)
    expected = {
        "n": 2 * 395,
        "n_dates": 395,
        "loss": loss,
        "pinball_loss": loss,
        "naive_loss": naive_loss,
        "naive_pinball_loss": naive_loss,
        "skill": 1 - loss / naive_loss,
        "mape": sum(abs(r["close"] * math.exp(r["q0.5"]) / r["price_actual"] - 1) for r in rows) / n,
        "naive_mape": sum(abs(r["close"] / r["price_actual"] - 1) for r in rows) / n,
        "rmse": math.sqrt(sum((r["actual"] - r["q0.5"]) ** 2 for r in rows) / n),
        "mae": sum(abs(r["actual"] - r["q0.5"]) for r in rows) / n,
        "coverage": sum(r["q0.1"] <= r["actual"] <= r["q0.9"] for r in rows) / n,
        "coverage_nominal": 0.8,
        "directional_accuracy": 1.0,
        "n_calls": n,
        "fold_wins": 1.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["skill_low"] < found["skill"] < found["skill_high"]
    assert (found["first_date"], found["last_date"]) == (rows[0]["date"], rows[-1]["date"])
    assert found["brier"] is None and found["roc_auc"] is None


def test_the_sharpe_ratio_equals_a_loop_over_both_series(
    naive: pl.DataFrame, forecast: Forecast, bars: pl.DataFrame
) -> None:
    ours = forecast("ours", **{"q0.5": (pl.col("close") - 100) / 1_000})
    found = one(score(pl.concat([naive, ours]), bars, 252), "ours")
    earned: dict[str, list[np.ndarray]] = {"sharpe": [], "sharpe_long": []}
    for name in ("A", "B"):
        close = bars.filter(series_id=name)["close"].to_numpy()
        position = np.where(close[:395] > 100, 1.0, -1.0)
        for measure, taken in (("sharpe", position), ("sharpe_long", np.ones(395))):
            held = [np.mean(taken[max(0, t - 5) : t]) for t in range(1, 400)]
            earned[measure].append(np.array(held) * (close[1:] / close[:-1] - 1))
    for measure, by_series in earned.items():
        daily = np.mean(by_series, axis=0)
        assert found[measure] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(252))


def test_every_measure_of_naive_stands_beside(naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    scores = score(pl.concat([naive, skilled]), bars, 252)
    found, alone = one(scores, "skilled"), one(scores, "naive")
    for name in ("mape", "smape", "rmse", "mae", "crps", "coverage", "coverage_nominal", "pinball_loss"):
        assert found[f"naive_{name}"] == alone[name] == alone[f"naive_{name}"], name
        assert found[name] is not None
    assert found["naive_n_calls"] == 0 and found["naive_directional_accuracy"] is None


def test_crps_weighs_the_levels_by_what_they_stand_for(skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    rows = [row for row in skilled.iter_rows(named=True) if row["actual"] is not None]
    weights = {0.1: 0.3, 0.5: 0.4, 0.9: 0.3}
    total = sum(2 * w * pinball(r["actual"], r[f"q{a}"], a) for r in rows for a, w in weights.items())
    assert one(score(skilled, bars, 252), "skilled")["crps"] == pytest.approx(total / len(rows))


def test_who_takes_positions_is_judged_by_them(naive: pl.DataFrame, forecast: Forecast, bars: pl.DataFrame) -> None:
    """Half a position on the days after a rise, and nothing else, whatever the median says."""
    held = pl.when(pl.col("close") > 100).then(0.5).otherwise(0.0)
    table = forecast("holds", **{"q0.5": -0.01})
    positions = table.select(held.alias("position")).to_series()
    both = [naive.with_columns(position=pl.lit(None, pl.Float64)), table.with_columns(positions)]
    found = one(score(pl.concat(both), bars, 252), "holds")
    earned = []
    for name in ("A", "B"):
        close = bars.filter(series_id=name)["close"].to_numpy()
        taken = np.where(close[:395] > 100, 0.5, 0.0)
        mean_held = [np.mean(taken[max(0, t - 5) : t]) for t in range(1, 400)]
        earned.append(np.array(mean_held) * (close[1:] / close[:-1] - 1))
    daily = np.mean(earned, axis=0)
    assert found["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(252))
    assert found["judged_by"] == "net_return"
    assert found["net_return"] == pytest.approx(daily.mean() * 252)
    assert found["net_return_low"] < found["net_return"] < found["net_return_high"]


def test_a_fold_is_won_by_positions_that_earn(
    naive: pl.DataFrame, forecast: Forecast, with_positions: Callable[..., pl.DataFrame], bars: pl.DataFrame
) -> None:
    """Right in one fold and wrong in three, with a median that is right in all of them."""
    table = forecast("knows", horizon=1, **{"q0.5": ACTUAL})
    side = pl.when(pl.col("fold") == "fold2").then(1).otherwise(-1)
    both = [with_positions(naive, None), with_positions(table, side * ACTUAL.sign())]
    scores = score(pl.concat(both), bars, 252)
    assert one(scores, "knows")["fold_wins"] == 0.25
    yardstick = one(scores, "naive")
    assert (yardstick["judged_by"], yardstick["net_return"], yardstick["net_return_low"]) == ("skill", None, None)


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("simple", pl.col("price_actual") / pl.col("close") - 1),
        ("difference", pl.col("price_actual") - pl.col("close")),
    ],
)
def test_the_price_is_built_as_the_target_was(
    method: str, change: pl.Expr, forecast: Forecast, bars: pl.DataFrame
) -> None:
    tables = [
        forecast(name, method=method, **{"q0.5": change * share}) for name, share in (("naive", 0.0), ("knows", 1))
    ]
    predictions = pl.concat(tables).with_columns(actual=change)
    found = one(score(predictions, bars, 252), "knows")
    assert found["mape"] == pytest.approx(0.0, abs=1e-6) and found["rmse"] == pytest.approx(0.0, abs=1e-5)
    unchanged = (predictions["close"] / predictions["price_actual"] - 1).abs().mean()
    assert found["naive_mape"] == pytest.approx(unchanged)


def test_a_price_that_passes_through_zero_has_no_mape_but_a_sharpe_ratio(
    forecast: Forecast, bars: pl.DataFrame
) -> None:
    moved = [pl.col("close") - 100]
    centred = bars.with_columns(moved).with_columns(
        close=pl.when(pl.col("close").abs() > 0.5).then("close").otherwise(0)
    )
    ahead = pl.col("close").shift(-5).over("series_id")
    outcome = centred.with_columns(price_actual=ahead, actual=ahead - pl.col("close"))
    table = forecast("drift", method="difference", **{"q0.5": 0.1}).drop("close", "price_actual", "actual")
    found = one(score(table.join(outcome, on=["series_id", "date"]), centred, 252), "drift")
    daily = centred.sort("date").select(pl.col("close").diff().over("series_id"), "date").drop_nulls()
    daily = daily.group_by("date").mean()["close"]
    assert found["mape"] is None and found["naive_mape"] is None and found["skill"] is not None
    assert found["smape"] is not None and found["max_drawdown"] is None
    assert found["sharpe"] == found["sharpe_long"] == pytest.approx(daily.mean() / daily.std() * math.sqrt(252))


def test_a_price_of_zero_is_told_with_the_families_and_no_row_is_dropped(
    naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame
) -> None:
    place = pl.int_range(pl.len()).over("family")
    zeros = pl.when(place.is_in([3, 500])).then(0.0).otherwise("price_actual").alias("price_actual")
    scores = score(pl.concat([naive, skilled]).with_columns(zeros), bars, 252)
    found = one(scores, "skilled")
    assert found["mape"] is None and found["n"] == 2 * 395
    assert found["notes"] == "2 of 790 prices are 0: no MAPE, and no row is dropped"
    assert notes(scores) == [f"return_1w: {found['notes']} (naive, skilled)"]
    assert notes(score(naive, bars, 252)) == [] == notes(pl.DataFrame())


def test_no_change_has_no_sharpe_and_no_skill(naive: pl.DataFrame, bars: pl.DataFrame) -> None:
    found = one(score(naive, bars, 252), "naive")
    assert found["skill"] == found["skill_low"] == found["skill_high"] == found["fold_wins"] == 0.0
    assert found["sharpe"] is None and found["directional_accuracy"] is None and found["n_calls"] == 0
    assert found["sharpe_long"] is not None
    assert found["mape"] == found["naive_mape"]


def test_costs_lower_the_sharpe_ratio_of_both(skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    free, dear = (
        one(score(skilled, bars, 252, config=EvaluationConfig(cost_bp=cost)), "skilled") for cost in (0.0, 20.0)
    )
    assert dear["sharpe"] < free["sharpe"] and dear["sharpe_long"] < free["sharpe_long"]


def test_a_failed_fold_is_compared_on_the_common_rows(
    naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame
) -> None:
    left = skilled.filter(pl.col("fold") != "fold1")
    found = one(score(pl.concat([naive, left]), bars, 252), "skilled")
    alone = one(score(pl.concat([naive.filter(pl.col("fold") != "fold1"), left]), bars, 252), "skilled")
    assert found["n"] == 2 * 295
    assert found == alone
    also_left = one(score(pl.concat([naive.filter(pl.col("fold") != "fold1"), skilled]), bars, 252), "skilled")
    assert also_left == alone


def test_a_row_counts_when_all_levels_of_both_are_known(
    naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame
) -> None:
    place = pl.int_range(pl.len())
    ours = skilled.with_columns(pl.when(place != 3).then("q0.9").alias("q0.9"))
    theirs = naive.with_columns(pl.when(place != 8).then("q0.1").alias("q0.1"))
    assert one(score(pl.concat([theirs, ours]), bars, 252), "skilled")["n"] == 2 * 395 - 2


def test_each_target_has_its_own_naive_and_rows_are_ordered_by_horizon(forecast: Forecast, bars: pl.DataFrame) -> None:
    tables = [
        forecast(family, horizon=horizon, label=label, **{"q0.5": median})
        for family, median in (("naive", 0.0), ("drift", 0.001))
        for horizon, label in ((21, "1m"), (5, "1w"))
    ]
    scores = score(pl.concat(tables), bars, 252)
    assert scores.select("label", "family").rows() == [
        ("1w", "drift"),
        ("1w", "naive"),
        ("1m", "drift"),
        ("1m", "naive"),
    ]
    assert scores["naive_mape"][0] == scores["mape"][1] != scores["mape"][3] == scores["naive_mape"][2]


def test_confidence_and_seed_reach_the_interval(naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    def width(confidence: float, seed: int) -> float:
        found = one(score(pl.concat([naive, skilled]), bars, 252, confidence=confidence, seed=seed), "skilled")
        return found["skill_high"] - found["skill_low"]

    assert width(0.5, 42) < width(0.9, 42) != width(0.9, 43)


def test_seeds_are_averaged_before_anything_is_measured(
    naive: pl.DataFrame, forecast: Forecast, bars: pl.DataFrame
) -> None:
    noise = pl.col("close") / 10_000
    seeds = [forecast("net", seed=i, **{"q0.5": ACTUAL + sign * noise}) for i, sign in enumerate((1, -1))]
    found = one(score(pl.concat([naive, *seeds]), bars, 252), "net")
    assert found["n"] == 2 * 395
    assert found["rmse"] == pytest.approx(0.0, abs=1e-8)


def test_a_point_family_is_compared_at_the_median_alone(
    naive: pl.DataFrame, forecast: Forecast, bars: pl.DataFrame
) -> None:
    found = one(score(pl.concat([naive, forecast("point", **{"q0.5": 0.001})]), bars, 252), "point")
    assert found["naive_pinball_loss"] == pytest.approx(one(score(naive, bars, 252), "naive")["mae"] / 2)
    assert found["coverage"] is None and found["coverage_nominal"] is None


def test_without_naive_no_change_is_the_yardstick_at_the_median(skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    found = one(score(skilled, bars, 252), "skilled")
    absolute = skilled["actual"].abs().mean()
    assert found["naive_loss"] == pytest.approx(absolute / 2)
    assert found["loss"] == pytest.approx(found["mae"] / 2)
    assert found["pinball_loss"] != pytest.approx(found["loss"])
    assert found["naive_mape"] is not None


def test_a_threshold_is_scored_by_its_probability(forecast: Forecast, bars: pl.DataFrame) -> None:
    rises = (pl.col("actual") > 0).cast(pl.Float64)
    base = {"kind": "threshold", "label": "1d", "horizon": 1}
    tables = [
        forecast("naive", probability=0.5, **base),
        forecast("good", probability=0.2 + 0.6 * rises, **base),
    ]
    predictions = pl.concat(tables).with_columns(actual=rises)
    found = one(score(predictions, bars, 252), "good")
    expected = {
        "brier": 0.04,
        "loss": 0.04,
        "naive_loss": 0.25,
        "skill": 0.84,
        "log_loss": -math.log(0.8),
        "roc_auc": 1,
        "precision": 1,
        "base_rate": float((predictions["actual"].drop_nulls() == 1).mean()),
        "naive_brier": 0.25,
        "naive_log_loss": math.log(2),
        "naive_roc_auc": 0.5,
        "naive_precision": float((predictions["actual"].drop_nulls() == 1).mean()),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found["mape"] is None and found["sharpe"] is None and found["pinball_loss"] is None
    without = one(score(predictions.filter(family="good"), bars, 252), "good")
    assert without["skill"] is None and without["naive_loss"] is None
    assert without["brier"] == pytest.approx(0.04, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e4])
def test_a_forecast_that_is_no_number_leaves_the_family_unmeasured(
    bad: float, naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame
) -> None:
    broken = skilled.with_columns(pl.when(pl.int_range(pl.len()) == 7).then(bad).otherwise("q0.5").alias("q0.5"))
    scores = score(pl.concat([naive, broken], how="vertical_relaxed"), bars, 252)
    found = one(scores, "skilled")
    assert found["n"] == 2 * 395
    assert all(found[name] is None for name in ("skill", "skill_low", "mape", "sharpe", "loss"))
    assert found["notes"] == "a forecast that is NaN or infinite: nothing can be measured"
    assert one(scores, "naive")["mape"] is not None


def test_a_probability_outside_0_to_1_leaves_the_family_unmeasured(forecast: Forecast, bars: pl.DataFrame) -> None:
    base = {"kind": "threshold", "label": "1d", "horizon": 1}
    tables = [forecast("naive", probability=0.5, **base), forecast("sure", probability=1.5, **base)]
    predictions = pl.concat(tables).with_columns(actual=(pl.col("actual") > 0).cast(pl.Float64))
    found = one(score(predictions, bars, 252), "sure")
    assert found["n"] == 2 * 399 and found["brier"] is None and found["skill"] is None


def test_a_family_with_nothing_known_yet_has_a_row_of_nulls(naive: pl.DataFrame, bars: pl.DataFrame) -> None:
    found = one(score(naive.filter(pl.col("actual").is_null()), bars, 252), "naive")
    assert (found["n"], found["n_dates"], found["mape"], found["first_date"]) == (0, 0, None, None)


def test_an_empty_table_gives_an_empty_table(naive: pl.DataFrame, bars: pl.DataFrame) -> None:
    expected = score(naive, bars, 252)
    assert_frame_equal(score(naive.clear(), bars, 252), expected.clear())
    assert score_by_fold(naive.clear()).is_empty()


def test_the_order_of_the_rows_changes_nothing(naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    predictions = pl.concat([naive, skilled])
    shuffled = predictions.sample(fraction=1.0, shuffle=True, seed=1)
    assert_frame_equal(score(shuffled, bars.reverse(), 252), score(predictions, bars, 252))


def test_folds_add_up_to_the_whole(naive: pl.DataFrame, skilled: pl.DataFrame, bars: pl.DataFrame) -> None:
    predictions = pl.concat([naive, skilled])
    folds = score_by_fold(predictions).filter(family="skilled")
    whole = one(score(predictions, bars, 252), "skilled")
    assert folds["fold"].to_list() == ["fold0", "fold1", "fold2", "fold3"]
    assert folds["n"].sum() == whole["n"]
    for name in ("loss", "naive_loss", "mape", "coverage"):
        assert (folds[name] * folds["n"]).sum() / whole["n"] == pytest.approx(whole[name])


def test_fold_wins_counts_folds_not_rows(naive: pl.DataFrame, forecast: Forecast, bars: pl.DataFrame) -> None:
    good_once = forecast("once", **{"q0.5": pl.when(pl.col("fold") == "fold2").then(ACTUAL).otherwise(0.5)})
    assert one(score(pl.concat([naive, good_once]), bars, 252), "once")["fold_wins"] == 0.25


def test_a_forecast_without_a_bar_is_refused(naive: pl.DataFrame, bars: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"got none for A at 2020-01-01 \(1 rows in all\)"):
        score(naive, bars.slice(1), 252)


def test_repeated_bars_are_refused(naive: pl.DataFrame, bars: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="one row per series and date"):
        score(naive, pl.concat([bars, bars.head(1)]), 252)


def test_two_folds_may_not_forecast_one_row(naive: pl.DataFrame, bars: pl.DataFrame) -> None:
    again = naive.filter(fold="fold0").with_columns(fold=pl.lit("fold9"))
    with pytest.raises(DataError, match="A at 2020-01-01 in several folds of naive"):
        score(pl.concat([naive, again]), bars, 252)


def test_the_median_is_needed(naive: pl.DataFrame, bars: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"need the level 0.5, got q0.1, q0.9; add 0.5"):
        score(naive.drop("q0.5"), bars, 252)
