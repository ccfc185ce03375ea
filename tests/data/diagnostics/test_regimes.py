"""Returns by regime against a plain loop."""

import math
import statistics
from collections.abc import Callable

import polars as pl
import pytest

from raytrain.data.diagnostics import DiagnosticsConfig
from raytrain.data.diagnostics.regimes import rare_regimes, regime_columns, regime_returns
from raytrain.data.frame import Frame
from raytrain.errors import ConfigError

MakeTable = Callable[..., pl.DataFrame]


@pytest.fixture
def frame(make_table: MakeTable) -> Frame:
    table = pl.concat([make_table(200, "A", 1), make_table(200, "B", 2)])
    row = pl.int_range(pl.len())
    calm = pl.when(row % 7 == 3).then(None).when(row % 3 == 0).then(pl.lit("calm")).otherwise(pl.lit("wild"))
    table = table.with_columns(regime_name=calm, regime_code=(row % 2).cast(pl.Float64))
    return Frame(table, "close", "close", 252.0, "test")


def test_the_next_rows_return_is_taken_within_a_series(frame: Frame) -> None:
    found = {one.regime: one for one in regime_returns(frame, ["regime_name"])}

    close, regime = frame.table["close"].to_list(), frame.table["regime_name"].to_list()
    for name in ("calm", "wild"):
        after = [math.log(close[row + 1] / close[row]) for row in range(399) if row != 199 and regime[row] == name]
        mean, deviation = statistics.mean(after) * 252, statistics.stdev(after) * math.sqrt(252)
        assert found[name].rows == len(after)
        assert found[name].mean == pytest.approx(mean)
        assert found[name].deviation == pytest.approx(deviation)
        assert found[name].sharpe == pytest.approx(mean / deviation)
    assert set(found) == {"calm", "wild"}
    assert sum(one.share for one in found.values()) == pytest.approx(1)


def test_codes_read_as_whole_numbers(frame: Frame) -> None:
    assert [one.regime for one in regime_returns(frame, ["regime_code"])] == ["0", "1"]


def test_columns_are_found_by_name_when_they_have_few_values(frame: Frame) -> None:
    table = frame.table.with_columns(regime_score=pl.col("close"))

    assert regime_columns(table, DiagnosticsConfig()) == ["regime_name", "regime_code"]
    assert regime_columns(table, DiagnosticsConfig(regimes=("regime_code",))) == ["regime_code"]


def test_a_name_that_is_not_there_is_refused_with_the_nearest(frame: Frame) -> None:
    with pytest.raises(ConfigError, match="did you mean `regime_name`"):
        regime_columns(frame.table, DiagnosticsConfig(regimes=("regime_nam",)))


def test_few_rows_are_reported(frame: Frame) -> None:
    regimes = regime_returns(frame, ["regime_name"])
    fewest = min(one.rows for one in regimes)

    assert not rare_regimes(regimes, (), fewest)
    (found,) = rare_regimes(regimes, {"regime_name"}, fewest + 1)
    assert (found.value, found.level) == (fewest, "warning")
