import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.gates.comparison import against_naive, compare, compare_earnings, iso_day
from raytrain.evaluation.gates.diebold_mariano import diebold_mariano
from raytrain.evaluation.scoring.pairs import Pair, pair_with_naive
from raytrain.evaluation.scoring.significance import skill_interval
from raytrain.evaluation.scoring.strategy import Market

Forecast = Callable[..., pl.DataFrame]
ACTUAL = pl.col("actual").fill_null(0.0)


@pytest.fixture
def market(bars: pl.DataFrame) -> Market:
    return Market.make(bars, 252, EvaluationConfig(cost_bp=1))


@pytest.fixture
def pairs(forecast: Forecast) -> Callable[..., dict[str, Pair]]:
    """Family -> its pair; a good one, a fair one and a point family beside naive, changed as told."""

    def make(change: Callable[[str, pl.DataFrame], pl.DataFrame] = lambda _, table: table) -> dict[str, Pair]:
        tables = {
            "naive": forecast("naive", **{"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03}),
            "good": forecast("good", **{"q0.1": ACTUAL / 2 - 0.02, "q0.5": ACTUAL / 2, "q0.9": ACTUAL / 2 + 0.02}),
            "fair": forecast("fair", **{"q0.1": ACTUAL / 4 - 0.03, "q0.5": ACTUAL / 4, "q0.9": ACTUAL / 4 + 0.03}),
            "point": forecast("point", **{"q0.5": ACTUAL / 3}),
        }
        found = pair_with_naive(pl.concat(change(name, table) for name, table in tables.items()))
        return {pair.family: pair for pair in found}

    return make


def test_losses_are_compared_row_by_row(pairs: Callable[..., dict[str, Pair]]) -> None:
    found = pairs()
    good, fair = found["good"], found["fair"]
    compared = compare(good, fair, 0.9)
    loss, other = (pair.losses(["q0.1", "q0.5", "q0.9"]) for pair in (good, fair))
    day = good.rows["date"].to_physical().to_numpy()
    assert compared is not None and compared.other == "fair"
    assert compared.skill == pytest.approx(1 - loss.sum() / other.sum())
    assert (compared.low, compared.high) == skill_interval(loss, other, day, 5, level=0.9)
    assert compared.test == diebold_mariano(loss, other, day, 5)
    assert 0 < compared.low < compared.skill < compared.high
    rows = good.rows
    mape = ((rows["close"] * (rows["actual"] / 2).exp()) / rows["price_actual"] - 1).abs().mean()
    assert compared.mape == pytest.approx(mape)
    assert compared.other_mape is not None and compared.mape < compared.other_mape
    assert (compared.first_date, compared.last_date) == ("2020-01-01", "2021-01-29")


def test_only_rows_of_both_from_the_same_fold_count(pairs: Callable[..., dict[str, Pair]]) -> None:
    """A forecast from another cut-off knows something else, however good it looks."""

    def other_cutoff(name: str, table: pl.DataFrame) -> pl.DataFrame:
        fold = pl.when(pl.col("fold") == "fold3").then(pl.lit("latest")).otherwise("fold").alias("fold")
        return table.with_columns(fold) if name == "good" else table.filter(pl.col("fold") != "fold0")

    found = pairs(other_cutoff)
    compared = compare(found["good"], found["fair"], 0.9)
    assert compared is not None
    assert compared.test.num_dates == 200
    assert (compared.first_date, compared.last_date) == ("2020-04-10", "2020-10-26")
    everywhere = pairs(lambda name, table: table.with_columns(fold=pl.lit(name)) if name == "good" else table)
    assert compare(everywhere["good"], everywhere["fair"], 0.9) is None


def test_a_point_family_is_compared_at_the_median(pairs: Callable[..., dict[str, Pair]]) -> None:
    found = pairs()
    compared = compare(found["good"], found["point"], 0.9)
    loss, other = (found[name].losses(["q0.5"]).sum() for name in ("good", "point"))
    assert compared is not None and compared.skill == pytest.approx(1 - loss / other)


def test_what_is_not_finite_is_not_compared(pairs: Callable[..., dict[str, Pair]], market: Market) -> None:
    broken = pairs(
        lambda name, table: table.with_columns(pl.lit(math.nan, pl.Float32).alias("q0.1")) if name == "fair" else table
    )
    assert compare(broken["good"], broken["fair"], 0.9) is None
    assert against_naive(broken["fair"], market) is None
    assert compare_earnings(broken["good"], broken["fair"], market, 0.9) is None


def test_against_naive_is_the_same_test(pairs: Callable[..., dict[str, Pair]], market: Market) -> None:
    good = pairs()["good"]
    day = good.rows["date"].to_physical().to_numpy()
    expected = diebold_mariano(good.losses(good.shared), good.losses(good.shared, "_naive"), day, 5)
    assert against_naive(good, market) == expected
    assert expected.p_value < 1e-6


def test_positions_are_tested_by_what_they_earn(
    forecast: Forecast, with_positions: Callable[..., pl.DataFrame], market: Market
) -> None:
    """Whatever the median says, which is the opposite here."""
    table = forecast("knows", **{"q0.5": -ACTUAL})
    (right,), (wrong,) = (pair_with_naive(with_positions(table, side * ACTUAL.sign())) for side in (1, -1))
    found, opposite = against_naive(right, market), against_naive(wrong, market)
    assert found is not None and found.p_value < 1e-6 and found.num_dates == 399
    assert opposite is not None and opposite.p_value > 1 - 1e-6


def test_earnings_are_compared_on_the_rows_of_both_from_the_same_fold(
    forecast: Forecast, with_positions: Callable[..., pl.DataFrame], market: Market, bars: pl.DataFrame
) -> None:
    """Always long beside a median that is always short, where both forecast: twice what the market earns."""
    in_folds = pl.col("fold").is_in(["fold1", "fold2"])
    (long,) = pair_with_naive(with_positions(forecast("long", horizon=1, **{"q0.5": 0.0}), 1.0))
    (short,) = pair_with_naive(forecast("short", horizon=1, **{"q0.5": -0.01}).filter(in_folds))
    found = compare_earnings(long, short, market, 0.9)
    closes = np.array([bars.filter(series_id=name)["close"].to_numpy() for name in ("A", "B")])
    daily = (closes[:, 101:301] / closes[:, 100:300] - 1).mean(axis=0)
    assert found is not None and found.judged_by == "net_return"
    assert found.skill == pytest.approx(2 * daily.sum() / 201 * 252), "both pay the same costs, the last day's too"
    assert found.low < found.skill < found.high
    assert found.test.num_dates == 201
    assert (found.first_date, found.last_date) == ("2020-04-10", "2020-10-26")
    assert (found.mape, found.other_mape) == (None, None)
    back = compare_earnings(short, long, market, 0.9)
    assert back is not None and back.skill == pytest.approx(-found.skill)
    assert back.test.p_value == pytest.approx(1 - found.test.p_value)


@pytest.mark.parametrize(
    ("date", "text"),
    [(None, ""), ("2020-01-01 00:00:00", "2020-01-01"), ("2020-01-01 09:30:00", "2020-01-01T09:30:00")],
)
def test_a_date_is_told_without_its_midnight(date: str | None, text: str) -> None:
    assert iso_day(date) == text
