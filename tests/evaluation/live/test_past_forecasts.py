"""What earlier runs forecast: once each, of targets and rows that still are what they were."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from raytrain.data.frame import Frame
from raytrain.evaluation.live.past_forecasts import past_forecasts
from raytrain.features.targets import TargetConfig

Walk = Callable[..., pl.DataFrame]
Remember = Callable[..., Path]
BAND = {"q0.1": -0.03, "q0.5": 0.01, "q0.9": 0.03}


@pytest.fixture
def given(walk: Walk, frame: Frame) -> pl.DataFrame:
    """Forecasts of both series on the last ten dates but three."""
    days = frame.table["date"].unique().sort()[-13:-3]
    return walk("har", **BAND).filter(pl.col("date").is_in(days.implode()))


def test_a_store_without_runs_has_none(tmp_path: Path, frame: Frame, week: TargetConfig) -> None:
    found = past_forecasts(tmp_path, frame, [week])
    assert found.rows.is_empty() and found.notes == ()


def test_forecasts_meet_what_happened(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig, walk: Walk
) -> None:
    found = past_forecasts(remember(given, [week]), frame, [week])
    assert found.rows.height == given.height == 20 and found.notes == ()
    expected = {(row["series_id"], row["date"]): row["actual"] for row in walk("har").iter_rows(named=True)}
    for row in found.rows.iter_rows(named=True):
        assert row["actual"] == expected[row["series_id"], row["date"]]
        assert row["run_id"].startswith(f"{row['date']:%Y%m%d}") and not row["late"] and not row["revised"]
    assert found.rows["actual"].null_count() == 2 * 2, "the last five rows have no outcome; three of them no forecast"


def test_the_first_of_two_equal_forecasts_counts(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    remember(given, [week])
    store = remember(given.with_columns(pl.lit(0.5).alias("q0.5")), [week], tail="bbbb")
    found = past_forecasts(store, frame, [week]).rows
    assert found.height == 20
    assert (found["q0.5"] != 0.5).all()
    also = past_forecasts(remember(given.with_columns(family=pl.lit("gjr")), [week], tail="cccc"), frame, [week])
    assert also.rows.height == 40


def test_a_run_that_was_killed_before_its_summary_does_not_count(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    store = remember(given, [week])
    newest = max((store / "runs").iterdir())
    (newest / "summary.json").unlink()
    found = past_forecasts(store, frame, [week])
    assert found.rows.height == 18 and found.notes == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("forecast.parquet", b"PAR1 torn"),
        ("summary.json", b"{"),
        ("summary.json", b'{"started_at": "2020-01-01T00:00:00+00:00"}'),
        ("summary.json", b'{"run_id": "r", "started_at": "2020-01-01T00:00:00+00:00", "targets": [{"horizon": 0}]}'),
    ],
)
def test_a_damaged_run_is_told_and_the_others_are_read(
    name: str, content: bytes, remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    store = remember(given, [week])
    newest = max((store / "runs").iterdir())
    (newest / name).write_bytes(content)
    found = past_forecasts(store, frame, [week])
    assert found.rows.height == 18
    (note,) = found.notes
    assert note.startswith(f"the forecasts of {newest.name} cannot be read and are left out: ")


def test_a_run_without_a_forecast_is_nothing_strange(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    store = remember(given, [week])
    pl.DataFrame().write_parquet(max((store / "runs").iterdir()) / "forecast.parquet")
    found = past_forecasts(store, frame, [week])
    assert found.rows.height == 18 and found.notes == ()


@pytest.mark.parametrize("changes", [{"horizon": 6}, {"method": "simple"}])
def test_targets_that_meant_something_else_are_left_out(
    changes: dict[str, object], remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    store = remember(given, [week.model_copy(update=changes)])
    found = past_forecasts(store, frame, [week])
    assert found.rows.is_empty()
    assert found.notes == ("of 20 past forecasts 20 are of targets that were defined otherwise, and are left out",)


def test_targets_of_another_config_in_the_same_store_are_not_looked_at(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    found = past_forecasts(remember(given, [week]), frame, [TargetConfig(horizon=1, label="1d")])
    assert found.rows.is_empty() and found.notes == ()


def test_rows_that_are_gone_are_counted(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    left = Frame(frame.table.filter(series_id="A"), "close", "close", 252, "a test")
    found = past_forecasts(remember(given, [week]), left, [week])
    assert found.rows["series_id"].unique().to_list() == ["A"]
    assert found.notes == ("of 20 past forecasts 10 are of rows that the data do not have any more, and are left out",)


def test_a_revised_close_is_told_and_todays_counts(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    store = remember(given.with_columns(close=pl.col("close") * 1.001), [week])
    found = past_forecasts(store, frame, [week])
    assert found.rows["revised"].all()
    ratio = (found.rows["price_actual"] / found.rows["close"]).log().drop_nulls()
    assert ratio.to_list() == pytest.approx(found.rows["actual"].drop_nulls().to_list())
    assert found.notes == (
        "of 20 past forecasts 20 were made at a close that has been revised since, and are judged by today's",
    )


def test_a_forecast_after_the_fact_is_told(
    remember: Remember, given: pl.DataFrame, frame: Frame, week: TargetConfig
) -> None:
    store = remember(given, [week], about={"started_at": "2026-01-01T00:00:00+00:00"})
    found = past_forecasts(store, frame, [week])
    assert found.rows.filter("late").height == found.rows["actual"].count() == 16
    assert "16 were made when their outcome was history" in found.notes[0]
