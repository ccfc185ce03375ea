"""Moves that are hard to believe."""

import datetime
from collections.abc import Callable

import polars as pl
import pytest

from raytrain.data.diagnostics import DiagnosticsConfig
from raytrain.data.diagnostics.prices import one_step_returns, strange_moves

CONFIG = DiagnosticsConfig()
MakeTable = Callable[..., pl.DataFrame]


def test_an_honest_walk_has_no_strange_move(make_table: MakeTable) -> None:
    assert not strange_moves(make_table(), "close", CONFIG)


def test_a_price_that_is_wrong_for_one_row_is_a_bad_print_and_its_way_back_is_not_reported(
    make_table: MakeTable,
) -> None:
    table = make_table(moves={150: -0.28, 151: 0.27})

    (found,) = strange_moves(table, "close", CONFIG)

    assert (found.check, found.level, found.series) == ("bad_print", "warning", "A")
    assert found.date == str(table["date"][150]).removesuffix(" 00:00:00")
    assert "1 move" in found.message
    assert "-0.28" in found.message


def test_up_and_down_in_the_days_of_a_crash_is_no_bad_print(make_table: MakeTable) -> None:
    found = strange_moves(make_table(moves={150: -0.23, 151: 0.15, 152: -0.14}), "close", CONFIG)

    assert "bad_print" not in {one.check for one in found}


@pytest.mark.parametrize(("move", "check"), [(-0.69, "split"), (0.41, "split"), (-0.35, "outlier")])
def test_a_move_that_stays_is_a_split_or_an_outlier(make_table: MakeTable, move: float, check: str) -> None:
    (found,) = strange_moves(make_table(moves={150: move}), "close", CONFIG)

    assert found.check == check


def test_a_bad_print_next_to_the_end_of_a_series_is_not_undone_by_the_next_series(make_table: MakeTable) -> None:
    table = pl.concat([make_table(100, "A", moves={99: -0.3}), make_table(100, "B", moves={0: 0.3})])

    assert [one.check for one in strange_moves(table, "close", CONFIG)] == ["outlier"]


def test_prices_below_zero_are_measured_by_differences(make_table: MakeTable) -> None:
    table = make_table(moves={150: -0.3, 151: 0.3}).with_columns(pl.col("close") - 100)

    assert [one.check for one in strange_moves(table, "close", CONFIG)] == ["bad_print"]


def test_a_price_that_mostly_repeats_itself_has_a_yardstick_too() -> None:
    prices = [100.0 + (row // 3 % 2) for row in range(200)]
    prices[150] = 300.0
    first = datetime.datetime(2020, 1, 1)
    dates = [first + datetime.timedelta(days=row) for row in range(200)]
    table = pl.DataFrame({"series_id": ["A"] * 200, "date": dates, "close": prices})

    assert [one.check for one in strange_moves(table, "close", CONFIG)] == ["bad_print"]


def test_returns_are_unknown_on_the_first_row_of_each_series(make_table: MakeTable) -> None:
    returns = one_step_returns(pl.concat([make_table(10, "A"), make_table(10, "B")]), "close")

    assert returns.is_null().to_list() == ([True] + [False] * 9) * 2
