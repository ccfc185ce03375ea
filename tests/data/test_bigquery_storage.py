"""BigQuery's real Storage client against a gRPC server of ours: the same rows as page by page, each of them once."""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.data import DataConfig, bigquery_storage
from raytrain.data import bigquery as bigquery_source
from raytrain.data.bigquery import BigQuerySource, SourceUnavailable
from raytrain.data.bigquery_config import BigQueryConfig
from raytrain.data.export import ExportConfig, export
from raytrain.errors import DataError


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the 60 bars are worth a read session."""
    monkeypatch.setattr(bigquery_source, "PAGE_ROWS", 20)


@pytest.fixture
def config() -> DataConfig:
    """Google's table; no stand-in."""
    return DataConfig(kind="bigquery", bigquery=BigQueryConfig(table="shop.prices.daily", timeout_s=10))


def fetch(source: BigQuerySource, since: datetime.date | None = None) -> pl.DataFrame:
    return pl.concat(source.batches(source.columns(), since)).sort("series_id", "date")


def test_it_is_used_where_it_is_there(config: DataConfig, bars: pl.DataFrame, bigquery: Any, storage: Any) -> None:
    source = BigQuerySource(config)
    assert_frame_equal(fetch(source), bars)
    assert storage.calls == ["session", "rows@0"]
    assert source.notes == []
    [asked] = storage.asked
    assert asked.parent == "projects/shop"
    assert asked.max_stream_count == 1, "several streams would mix up the order"
    assert asked.read_session.table == "projects/shop/datasets/_hidden/tables/job-1"
    assert asked.read_session.read_options.arrow_serialization_options.buffer_compression.name == "LZ4_FRAME"


def test_its_connection_is_closed_at_the_end(config: DataConfig, storage: Any) -> None:
    fetch(BigQuerySource(config))
    with pytest.raises(ValueError, match="closed channel"):
        storage.last_client.create_read_session(parent="projects/shop")


def test_its_rows_come_in_the_order_of_the_query(config: DataConfig, storage: Any) -> None:
    source = BigQuerySource(config)
    assert pl.concat(source.batches(["date"], None))["date"].is_sorted()


@pytest.mark.parametrize("kind", [pl.Datetime("us"), pl.Datetime("us", "UTC")], ids=["DATETIME", "TIMESTAMP"])
def test_both_ways_give_the_same_types(
    kind: pl.Datetime, config: DataConfig, bars: pl.DataFrame, bigquery: Any, storage: Any
) -> None:
    bigquery.table = bars.cast({"date": kind})
    fast = fetch(BigQuerySource(config))
    storage.session_faults = ["PERMISSION_DENIED"]
    slow = fetch(BigQuerySource(config))
    assert_frame_equal(fast, slow)
    assert fast.schema == bigquery.table.schema


def test_one_page_is_not_worth_a_session(config: DataConfig, storage: Any) -> None:
    assert fetch(BigQuerySource(config), datetime.date(2020, 1, 25)).height == 12
    assert fetch(BigQuerySource(config), datetime.date(2021, 1, 1)).height == 0
    assert storage.calls == []


def test_without_the_package_pages_are_read(
    config: DataConfig, bars: pl.DataFrame, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.bigquery_storage", None)
    monkeypatch.delattr("google.cloud.bigquery_storage")
    source = BigQuerySource(config)
    assert_frame_equal(fetch(source), bars)
    assert (storage.calls, source.notes) == ([], [])


def test_a_stand_in_is_not_passed_by(config: DataConfig, bars: pl.DataFrame, bigquery: Any, storage: Any) -> None:
    stand_in = config.bigquery.model_copy(update={"api_endpoint": bigquery.url})
    assert_frame_equal(fetch(BigQuerySource(config.model_copy(update={"bigquery": stand_in}))), bars)
    assert storage.calls == []


@pytest.mark.parametrize("where", ["session", "rows"])
@pytest.mark.parametrize("status", ["PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"])
def test_what_it_refuses_is_read_page_by_page(
    where: str, status: str, config: DataConfig, bars: pl.DataFrame, bigquery: Any, storage: Any
) -> None:
    storage.session_faults = [status] if where == "session" else []
    storage.row_faults = [(0, status)] if where == "rows" else []
    source = BigQuerySource(config)
    assert_frame_equal(fetch(source), bars)
    [note] = source.notes
    assert "page by page, as the Storage Read API refused: " in note
    assert f"{status} by request of the test" in note
    assert ("the role BigQuery Read Session User" in note) == (status == "PERMISSION_DENIED")
    assert len(bigquery.queries) == 1


def test_an_export_tells_that_it_was_refused(config: DataConfig, storage: Any, tmp_path: Path) -> None:
    storage.session_faults = ["PERMISSION_DENIED"]
    done = export(BigQuerySource(config), ExportConfig(out=tmp_path, data=config))
    [note] = done.notes
    assert note.startswith("shop.prices.daily was read page by page, as the Storage Read API refused: PermissionDenied")


def test_one_that_does_not_answer_is_left_alone(
    config: DataConfig, bars: pl.DataFrame, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery_storage, "OPEN_S", 0.3)
    storage.session_faults = ["hang"] * 9
    source = BigQuerySource(config)
    assert_frame_equal(fetch(source), bars)
    assert "page by page" in source.notes[0]
    assert storage.calls.count("session") < 9


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_a_session_that_passes_is_asked_for_again(
    status: str, config: DataConfig, bars: pl.DataFrame, storage: Any
) -> None:
    storage.session_faults = [status]
    source = BigQuerySource(config)
    assert_frame_equal(fetch(source), bars)
    assert storage.calls == ["session", "session", "rows@0"]
    assert source.notes == []


@pytest.mark.parametrize("status", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "DATA_LOSS"])
def test_a_broken_stream_goes_on_after_its_last_row(
    status: str, config: DataConfig, bars: pl.DataFrame, storage: Any
) -> None:
    storage.row_faults = [(3, status), (2, status)]
    assert_frame_equal(fetch(BigQuerySource(config)), bars)
    assert storage.calls == ["session", "rows@0", "rows@21", "rows@35"]


def test_a_silent_stream_is_taken_up_again(config: DataConfig, bars: pl.DataFrame, storage: Any) -> None:
    short = config.bigquery.model_copy(update={"timeout_s": 0.5})
    storage.row_faults = [(3, "hang")]
    assert_frame_equal(fetch(BigQuerySource(config.model_copy(update={"bigquery": short}))), bars)
    assert storage.calls == ["session", "rows@0", "rows@21"]


@pytest.mark.parametrize("status", ["INTERNAL", "ABORTED", "CANCELLED", "RESOURCE_EXHAUSTED"])
def test_a_stream_that_stays_broken_ends_the_read_and_keeps_its_job(
    status: str, config: DataConfig, bars: pl.DataFrame, bigquery: Any, storage: Any, tmp_path: Path
) -> None:
    storage.row_faults = [(3, status), (0, status)]
    note = tmp_path / "job.json"
    with pytest.raises(SourceUnavailable, match="start the command again"):
        fetch(BigQuerySource(config, note))
    assert json.loads(note.read_text())["job"] == "job-1"
    storage.row_faults = []
    assert_frame_equal(fetch(BigQuerySource(config, note)), bars)
    assert len(bigquery.queries) == 1


def test_a_right_that_is_taken_away_meanwhile_is_a_refusal(config: DataConfig, storage: Any) -> None:
    storage.row_faults = [(3, "PERMISSION_DENIED")]
    with pytest.raises(DataError, match=r"BigQuery refuses shop\.prices\.daily: PermissionDenied"):
        fetch(BigQuerySource(config))


def test_short_rows_are_noticed(config: DataConfig, storage: Any) -> None:
    storage.lost_rows = 7
    with pytest.raises(SourceUnavailable, match="announced 60 rows and gave 53"):
        fetch(BigQuerySource(config))


def test_a_reader_that_stops_early_ends_the_stream(config: DataConfig, storage: Any) -> None:
    storage.row_faults = [(1, "hang")]
    source = BigQuerySource(config)
    batches = source.batches(source.columns(), None)
    next(batches)
    assert not storage.ended.is_set()
    batches.close()
    assert storage.ended.wait(30)
