from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest

from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.gates.config import WindowConfig
from raytrain.evaluation.gates.windows import crises
from raytrain.evaluation.scoring.pairs import Pair, pair_with_naive
from raytrain.evaluation.scoring.strategy import Book, Market

INSIDE = WindowConfig(first=date(2020, 5, 1), last=date(2020, 6, 30))


@pytest.fixture
def fallen(bars: pl.DataFrame) -> pl.DataFrame:
    """The market loses 1 % on each of the 61 days of the window."""
    day = pl.col("date")
    days_in = (day - pl.lit(INSIDE.first)).dt.total_days().clip(0, 61)
    return bars.with_columns(close=pl.col("close") * 0.99**days_in)


@pytest.fixture
def long(forecast: Callable[..., pl.DataFrame]) -> Pair:
    """Always long, and twice as far off as naive."""
    tables = [forecast("naive", **{"q0.5": 0.0}), forecast("bold", **{"q0.5": 0.0001})]
    return next(pair for pair in pair_with_naive(pl.concat(tables)) if pair.family == "bold")


def test_a_crisis_is_judged_on_its_own_rows(long: Pair, fallen: pl.DataFrame) -> None:
    book = Book.make(long, Market.make(fallen, 252, EvaluationConfig()))
    (found,) = crises(long, book, {"fall": INSIDE})
    rows = long.rows.filter(pl.col("date").is_between(INSIDE.first, INSIDE.last))
    loss = (rows["actual"] - rows["q0.5"].cast(pl.Float64)).abs().sum() / rows["actual"].abs().sum() - 1
    assert found.excess_loss == pytest.approx(loss)
    assert (found.name, found.first_date, found.last_date) == ("fall", "2020-05-01", "2020-06-30")
    assert found.drawdown == found.drawdown_long
    assert found.drawdown is not None and 0.3 < found.drawdown < 0.6


def test_who_is_short_comes_through_a_fall(forecast: Callable[..., pl.DataFrame], fallen: pl.DataFrame) -> None:
    (bear,) = pair_with_naive(forecast("bear", **{"q0.5": -0.01}))
    book = Book.make(bear, Market.make(fallen, 252, EvaluationConfig()))
    (found,) = crises(bear, book, {"fall": INSIDE})
    assert found.drawdown is not None and found.drawdown_long is not None
    assert found.drawdown < 0.1 < found.drawdown_long


@pytest.mark.parametrize("position", [0.5, -0.5])
def test_positions_come_through_by_what_they_earn(
    position: float,
    forecast: Callable[..., pl.DataFrame],
    with_positions: Callable[..., pl.DataFrame],
    fallen: pl.DataFrame,
) -> None:
    table = forecast("holds", horizon=1, **{"q0.5": 0.0})
    (pair,) = pair_with_naive(with_positions(table, position))
    book = Book.make(pair, Market.make(fallen, 252, EvaluationConfig()))
    (found,) = crises(pair, book, {"fall": INSIDE})
    inside = pl.col("date").is_between(INSIDE.first, INSIDE.last)
    simple = (pl.col("close").shift(-1) / pl.col("close") - 1).over("series_id")
    daily = fallen.select("date", simple=simple).filter(inside).group_by("date").mean()["simple"].to_numpy()
    assert found.excess_loss == pytest.approx(1 - np.prod(1 + position * daily))
    assert (found.excess_loss > 0.15) is (position > 0)


def test_changes_of_a_price_are_no_share_of_a_capital(
    forecast: Callable[..., pl.DataFrame], with_positions: Callable[..., pl.DataFrame], fallen: pl.DataFrame
) -> None:
    table = forecast("holds", method="difference", **{"q0.5": 0.0})
    (pair,) = pair_with_naive(with_positions(table, 1.0))
    (found,) = crises(pair, Book.make(pair, Market.make(fallen, 252, EvaluationConfig())), {"fall": INSIDE})
    assert (found.excess_loss, found.drawdown) == (None, None)


@pytest.mark.parametrize(
    ("first", "last", "num"),
    [
        (date(2020, 1, 1), date(2021, 1, 29), 1),
        (date(2019, 12, 31), date(2020, 3, 1), 0),
        (date(2020, 12, 1), date(2021, 1, 30), 0),
        (date(2008, 9, 1), date(2009, 3, 31), 0),
    ],
)
def test_a_window_counts_when_the_judged_dates_hold_it_whole(first: date, last: date, num: int, long: Pair) -> None:
    """Forecasts are known to be right or wrong from 2020-01-01 to 2021-01-29."""
    assert len(crises(long, None, {"one": WindowConfig(first=first, last=last)})) == num


def test_windows_are_told_oldest_first_and_without_those_that_were_dropped(long: Pair) -> None:
    later = WindowConfig(first=date(2020, 9, 1), last=date(2020, 9, 30))
    found = crises(long, None, {"later": later, "gone": None, "first": INSIDE})
    assert [one.name for one in found] == ["first", "later"]
    assert {one.drawdown for one in found} == {None}


def test_a_window_between_two_folds_has_no_row(long: Pair) -> None:
    gap = long.on(long.rows.filter(~pl.col("date").is_between(INSIDE.first, INSIDE.last)))
    assert crises(gap, None, {"fall": INSIDE}) == []


def test_naive_that_loses_nothing_gives_no_ratio(long: Pair) -> None:
    still = long.on(long.rows.with_columns(actual=pl.lit(0.0)))
    (found,) = crises(still, None, {"fall": INSIDE})
    assert found.excess_loss is None
    assert np.isfinite(still.losses(["q0.5"]).sum())
