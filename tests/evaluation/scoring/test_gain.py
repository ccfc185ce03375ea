"""What positions gain, against loops over the same market."""

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.gain import Gain
from raytrain.evaluation.scoring.pairs import Pair, pair_with_naive
from raytrain.evaluation.scoring.strategy import Book, Market

Forecast = Callable[..., pl.DataFrame]


@pytest.fixture
def held(forecast: Forecast, bars: pl.DataFrame, with_positions: Callable[..., pl.DataFrame]) -> Callable[..., Book]:
    """The book of a constant position on some rows of series A, for one row each, at 10 basis points."""

    def make(position: float, first: int = 0, last: int = 395) -> Book:
        days = pl.col("date").is_between(bars["date"][first], bars["date"][last - 1]) & (pl.col("series_id") == "A")
        table = forecast("ours", horizon=1, **{"q0.5": 0.0}).filter(days)
        (pair,) = pair_with_naive(with_positions(table, position))
        return Book.make(pair, Market.make(bars, 252, EvaluationConfig(cost_bp=10)))

    return make


def simple_returns(bars: pl.DataFrame) -> np.ndarray:
    close = bars.filter(series_id="A")["close"].to_numpy()
    return close[1:] / close[:-1] - 1


def test_beside_naive_it_is_what_was_earned_net_of_costs(held: Callable[..., Book], bars: pl.DataFrame) -> None:
    gain = Gain.of(held(-0.5))
    expected = -0.5 * simple_returns(bars)[:395]
    expected[0] -= 0.5 * 0.001
    assert gain.net[:395] == pytest.approx(expected)
    assert gain.net[395:] == pytest.approx([-0.5 * 0.001]), "getting out is paid for on the day after"
    assert gain.a_year == pytest.approx(np.append(expected, -0.0005).mean() * 252)


def test_the_interval_is_of_the_mean_of_a_year(held: Callable[..., Book]) -> None:
    gain = Gain.of(held(1.0))
    low, high = gain.interval(0.9)
    error = gain.net.std() / math.sqrt(len(gain.net)) * 252
    assert low < gain.a_year < high
    assert high - low == pytest.approx(2 * 1.645 * error, rel=0.2)
    assert gain.interval(0.5)[0] > low and gain.interval(0.9, seed=7) != (low, high)


def test_another_strategy_earns_nothing_on_days_on_which_it_is_not_in_the_market(
    held: Callable[..., Book], bars: pl.DataFrame
) -> None:
    """Long for 20 days beside long for the 10 in the middle of them: the days around are the gain."""
    gain = Gain.of(held(1.0, 0, 20), held(1.0, 5, 15))
    returns, cost = simple_returns(bars), 0.001
    expected = np.append(returns[:20], 0.0)
    expected[5:15] = 0.0
    expected[[0, 20]] -= cost
    expected[[5, 15]] += cost
    assert gain.net == pytest.approx(expected)
    assert (np.diff(gain.day) > 0).all()


def test_nothing_taken_gains_nothing_that_is_known(held: Callable[..., Book]) -> None:
    book = held(1.0)
    nothing = Gain.of(book, rows=np.zeros(len(book.position), dtype=bool))
    assert math.isnan(nothing.a_year)
    assert np.isnan(nothing.interval(0.9)).all()


@pytest.mark.parametrize(
    ("kind", "method", "position", "judged_by"),
    [
        ("return", "log", 0.5, "net_return"),
        ("price", "difference", 0.5, "net_change"),
        ("return", "log", None, "skill"),
        ("threshold", "log", None, "skill"),
    ],
)
def test_who_takes_positions_is_judged_by_them(
    kind: str,
    method: str,
    position: float | None,
    judged_by: str,
    forecast: Forecast,
    with_positions: Callable[..., pl.DataFrame],
) -> None:
    table = forecast("ours", kind=kind, method=method, **{"q0.5": 0.0, "probability": 0.5})
    pair: Pair = pair_with_naive(with_positions(table, position))[0]
    assert pair.judged_by == judged_by


def test_a_position_that_is_no_number_leaves_the_family_unmeasured(
    forecast: Forecast, with_positions: Callable[..., pl.DataFrame]
) -> None:
    """It would be traded by the sign of a median that says nothing."""
    place = pl.int_range(pl.len())
    table = forecast("ours", **{"q0.5": 0.01})
    some, broken = (pl.when(place != 7).then(0.5).otherwise(pl.lit(value)) for value in (None, math.nan))
    assert pair_with_naive(with_positions(table, some))[0].usable
    assert not pair_with_naive(with_positions(table, broken))[0].usable
