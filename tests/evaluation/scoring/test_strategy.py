"""Positions, costs and what they earn, against loops over the same market."""

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from raytrain.errors import DataError
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.pairs import Pair, pair_with_naive
from raytrain.evaluation.scoring.strategy import Book, Market

Forecast = Callable[..., pl.DataFrame]
CHANGE = (pl.col("close") - 100) / 1_000


@pytest.fixture
def pair(forecast: Forecast) -> Pair:
    (found,) = pair_with_naive(forecast("ours", **{"q0.5": CHANGE}))
    return found


def book(pair: Pair, bars: pl.DataFrame, **config: object) -> Book:
    return Book.make(pair, Market.make(bars, 252, EvaluationConfig(**config)))


def closes(bars: pl.DataFrame) -> list[np.ndarray]:
    return [bars.filter(series_id=name)["close"].to_numpy() for name in ("A", "B")]


def held_by(taken: np.ndarray, rows: int, horizon: int) -> np.ndarray:
    """What is held on each row, by a loop; 0 before and after."""
    live = [taken[max(0, t - horizon) : t] for t in range(rows)]
    return np.array([np.nanmean(part) if np.isfinite(part).any() else 0.0 for part in live])


def test_size_follows_the_forecast_over_the_volatility_of_the_rows_before(pair: Pair, bars: pl.DataFrame) -> None:
    found = book(pair, bars, strategy="size", volatility_rows=20, full_size=0.5)
    for name, close in zip(("A", "B"), closes(bars), strict=True):
        mine = (pair.rows["series_id"] == name).to_numpy()
        simple = close[1:] / close[:-1] - 1
        for row in (0, 19, 20, 21, 200, 394):
            if row < 20:
                expected = 0.0
            else:
                volatility = math.sqrt(np.mean(simple[row - 20 : row] ** 2)) * math.sqrt(5)
                expected = np.clip(np.float32((close[row] - 100) / 1_000) / volatility / 0.5, -1, 1)
            assert found.position[mine][row] == pytest.approx(expected)


def test_turnover_and_drawdown_equal_a_loop(pair: Pair, bars: pl.DataFrame) -> None:
    found = book(pair, bars, cost_bp=10).performance()
    traded, held_rows, earned = 0.0, 0, []
    for close in closes(bars):
        taken = np.append(np.sign(np.float32((close[:395] - 100) / 1_000)), [math.nan] * 5)
        held = held_by(taken, 400, 5)
        moved = np.abs(np.diff(held, prepend=0.0))
        simple = np.append(0.0, close[1:] / close[:-1] - 1)
        earned.append((held * simple - moved * 0.001)[1:])
        traded, held_rows = traded + moved.sum(), held_rows + 399
    daily = np.mean(earned, axis=0)
    capital = np.append(1.0, np.cumprod(1 + daily))
    assert found["turnover"] == pytest.approx(traded / held_rows * 252)
    assert found["max_drawdown"] == pytest.approx((1 - capital / np.maximum.accumulate(capital)).max())
    assert found["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(252))
    assert found["num_periods"] == 399
    standard = (daily - daily.mean()) / daily.std()
    assert [found["skewness"], found["kurtosis"]] == pytest.approx([(standard**3).mean(), (standard**4).mean()])


def test_costs_of_changes_of_a_price_are_a_share_of_the_price(forecast: Forecast, bars: pl.DataFrame) -> None:
    one = forecast("ours", method="difference", horizon=1, **{"q0.5": 1.0}).filter(
        (pl.col("series_id") == "A") & (pl.col("date") == bars["date"][10])
    )
    (pair,) = pair_with_naive(one.with_columns(actual=pl.col("price_actual") - pl.col("close")))
    close = closes(bars)[0]
    _, earned, _ = next(book(pair, bars, cost_bp=20)._by_series(np.ones(1), np.array([10])))
    assert earned.tolist() == pytest.approx([close[11] - close[10] - 0.002 * close[10], -0.002 * close[11]])
    assert "max_drawdown" not in book(pair, bars).performance()


def test_the_parts_of_a_book_are_books_of_the_parts(pair: Pair, bars: pl.DataFrame) -> None:
    late = (pair.rows["date"] > bars["date"][250]).to_numpy()
    alone = book(pair.on(pair.rows.filter(pl.Series(late))), bars, cost_bp=5).performance()
    assert book(pair, bars, cost_bp=5).performance(late) == pytest.approx(alone)


def test_the_sharpe_ratio_does_not_know_the_size_of_positions(forecast: Forecast, bars: pl.DataFrame) -> None:
    small, smaller = (
        book(pair_with_naive(forecast("ours", **{"q0.5": share * CHANGE}))[0], bars, strategy="size", cost_bp=3)
        for share in (0.02, 0.01)
    )
    one, half = small.performance(), smaller.performance()
    assert half["sharpe"] == pytest.approx(one["sharpe"], rel=1e-4)
    assert half["turnover"] == pytest.approx(one["turnover"] / 2, rel=1e-4)


def test_no_rows_earn_nothing(pair: Pair, bars: pl.DataFrame) -> None:
    assert book(pair, bars).performance(np.zeros(len(pair.rows), dtype=bool)) == {}


def test_bars_are_checked(bars: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="one row per series and date, got some twice"):
        Market.make(pl.concat([bars, bars.head(1)]), 252, EvaluationConfig())
