"""The scores by group: the groups part the whole, and each equals the scores of its rows alone."""

from collections.abc import Callable

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.data.diagnostics.config import DiagnosticsConfig
from raytrain.data.frame import Frame
from raytrain.errors import ConfigError, DataError
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.breakdown import SCHEMA, breakdown, group_metrics, regime_column, regimes_of
from raytrain.evaluation.scoring.scores import score
from raytrain.features.weights import WeightsConfig

Walk = Callable[..., pl.DataFrame]


@pytest.fixture
def predictions(walk: Walk) -> pl.DataFrame:
    actual = pl.col("actual").fill_null(0.0)
    spread = {"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03}
    half = {"q0.1": actual / 2 - 0.02, "q0.5": actual / 2, "q0.9": actual / 2 + 0.02}
    return pl.concat([walk("naive", **spread), walk("half", **half)], how="vertical_relaxed")


@pytest.fixture
def bars(frame: Frame) -> pl.DataFrame:
    return frame.table.select("series_id", "date", "close")


@pytest.fixture
def regimes(frame: Frame) -> pl.DataFrame:
    return regimes_of(frame, "market_regime")


def test_the_groups_part_the_rows(predictions: pl.DataFrame, bars: pl.DataFrame, regimes: pl.DataFrame) -> None:
    whole = score(predictions, bars, 252).row(by_predicate=pl.col("family") == "half", named=True)
    found = breakdown(predictions, bars, 252, regimes=regimes).filter(family="half")
    groups = {by: rows["group"].to_list() for (by,), rows in found.group_by("by", maintain_order=True)}
    assert groups == {
        "regime": ["calm", "storm", "unknown"],
        "season": ["Q1", "Q2", "Q3", "Q4"],
        "month": [f"{month:02d}" for month in range(1, 13)],
        "fold": ["2018", "2019", "2020"],
        "series": ["A", "B"],
    }
    for by, rows in found.group_by("by"):
        assert rows["n"].sum() == whole["n"], by
        for name in ("loss", "naive_loss", "mape", "crps", "coverage", "smape"):
            assert (rows[name] * rows["n"]).sum() / whole["n"] == pytest.approx(whole[name]), (by, name)


@pytest.mark.parametrize(
    ("by", "group", "inside"),
    [
        ("regime", "storm", pl.col("regime") == "storm"),
        ("regime", "unknown", pl.col("regime") == "unknown"),
        ("season", "Q2", pl.col("date").dt.month().is_between(4, 6)),
        ("month", "11", pl.col("date").dt.month() == 11),
        ("series", "B", pl.col("series_id") == "B"),
    ],
)
def test_a_group_is_scored_as_its_rows_alone(
    by: str, group: str, inside: pl.Expr, predictions: pl.DataFrame, bars: pl.DataFrame, regimes: pl.DataFrame
) -> None:
    config = EvaluationConfig(cost_bp=5)
    found = breakdown(predictions, bars, 252, regimes=regimes, config=config).filter(by=by, group=group)
    rows = predictions.join(regimes, on=["series_id", "date"]).filter(inside).drop("regime")
    assert rows.height
    alone = score(rows, bars, 252, config=config)
    names = [name for name in found.columns if name in alone.columns]
    assert {"sharpe", "sharpe_error", "turnover", "skill_low", "n_dates"} < set(names)
    assert_frame_equal(found.select(names), alone.select(names))


def test_the_whole_regime_of_a_row_is_that_of_its_own_date(
    predictions: pl.DataFrame, bars: pl.DataFrame, frame: Frame, regimes: pl.DataFrame
) -> None:
    """A regime that changes on a row belongs to that row's forecast, not to that of the outcome's date."""
    plain = frame.table.select("market_regime").to_series().fill_null("unknown")
    counted = predictions.filter(pl.col("actual").is_not_null(), family="half").join(
        frame.table.select("series_id", "date", plain), on=["series_id", "date"]
    )
    found = breakdown(predictions, bars, 252, regimes=regimes).filter(by="regime", family="half")
    expected = dict(counted.group_by("market_regime").len().iter_rows())
    assert dict(found.select("group", "n").iter_rows()) == expected


def test_rows_that_the_regimes_do_not_know_are_shown(
    predictions: pl.DataFrame, bars: pl.DataFrame, regimes: pl.DataFrame
) -> None:
    found = breakdown(predictions, bars, 252, regimes=regimes.filter(series_id="A"))
    unknown = found.filter(by="regime", group="unknown", family="half")["n"].item()
    assert unknown >= 595


def test_without_regimes_the_other_groups_are_there(predictions: pl.DataFrame, bars: pl.DataFrame) -> None:
    assert "regime" not in breakdown(predictions, bars, 252)["by"].cast(pl.String).unique().to_list()


def test_nothing_known_gives_an_empty_table(predictions: pl.DataFrame, bars: pl.DataFrame) -> None:
    found = breakdown(predictions.filter(pl.col("actual").is_null()), bars, 252)
    assert found.is_empty() and dict(found.schema) == SCHEMA


def test_trackers_are_told_regimes_and_seasons_by_name(
    predictions: pl.DataFrame, bars: pl.DataFrame, regimes: pl.DataFrame
) -> None:
    odd = regimes.with_columns(pl.col("regime").replace("storm", "storm: very, high"))
    found = breakdown(predictions, bars, 252, regimes=odd)
    told = group_metrics(found, "half", "return_1w")
    row = found.filter(family="half", by="regime", group="calm").row(0, named=True)
    assert told["mape_calm"] == row["mape"] and told["sharpe_calm"] == row["sharpe"]
    assert {"mape_storm_ very_ high", "sharpe_Q1", "mape_Q4"} < set(told)
    assert not any(name.endswith(("_A", "_01", "_2019")) for name in told)
    assert group_metrics(found, "nobody", "return_1w") == {} == group_metrics(pl.DataFrame(), "half", "return_1w")


def test_the_column_of_the_regime(frame: Frame) -> None:
    plain = DiagnosticsConfig()
    assert regime_column(frame, None, plain) == "market_regime"
    weights = WeightsConfig(column="other_column", weights={"calm": 100})
    assert regime_column(frame, weights, plain) == "other_column"
    measured = frame.table.select(pl.lit(0.5).alias("a_regime_index"), pl.all())
    assert regime_column(Frame(measured, "close", "close", 252, "a test"), None, plain) == "market_regime"
    bare = Frame(frame.table.drop("market_regime"), "close", "close", 252, "a test")
    assert regime_column(bare, None, plain) is None


def test_a_column_that_is_no_regime_is_refused(frame: Frame) -> None:
    with pytest.raises(ConfigError, match=r"the regime must name a column of the frame, got `markt_regime`; .*market_"):
        regimes_of(frame, "markt_regime")
    with pytest.raises(DataError, match="text or whole numbers, got"):
        regimes_of(frame, "close")
