"""BigQuery's real client against a server of ours: every row that was announced or nothing, and one query at a time."""

import datetime
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from google.auth.credentials import AnonymousCredentials
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from raytrain.data import DataConfig, load
from raytrain.data.bigquery import BigQuerySource, SourceUnavailable
from raytrain.data.bigquery_config import BigQueryConfig
from raytrain.errors import ConfigError, DataError


@pytest.fixture
def config(bigquery: Any) -> DataConfig:
    table = BigQueryConfig(table="shop.prices.daily", api_endpoint=bigquery.url, timeout_s=10)
    return DataConfig(kind="bigquery", bigquery=table)


def fetch(config: DataConfig, since: datetime.date | None = None, note: Path | None = None) -> pl.DataFrame:
    source = BigQuerySource(config, note)
    return pl.concat(source.batches(source.columns(), since))


def test_all_rows_arrive_with_their_types(config: DataConfig, bars: pl.DataFrame) -> None:
    assert_frame_equal(fetch(config).sort("series_id", "date"), bars)


def test_a_job_reads_it_directly(config: DataConfig, bars: pl.DataFrame, tmp_path: Path) -> None:
    bars.write_parquet(tmp_path / "bars.parquet")
    local = load(DataConfig(kind="parquet", path=tmp_path / "bars.parquet"))
    assert load(config).content_hash() == local.content_hash()


def test_values_are_parameters_and_the_bill_is_bounded(config: DataConfig, bigquery: Any) -> None:
    config = config.model_copy(update={"first_date": datetime.date(2020, 1, 5), "last_date": datetime.date(2020, 1, 9)})
    rows = fetch(config, since=datetime.date(2020, 1, 7))
    assert rows["date"].unique().to_list() == [datetime.date(2020, 1, day) for day in (7, 8, 9)]
    [asked] = bigquery.queries
    assert "2020" not in asked["query"]
    assert [(one["name"], one["parameterType"]["type"]) for one in asked["queryParameters"]] == [
        ("first", "DATE"),
        ("end", "DATE"),
    ]
    assert asked["maximumBytesBilled"] == str(20 * 2**30)


@pytest.mark.parametrize("kind", [pl.Datetime("us"), pl.Datetime("us", "UTC")], ids=["DATETIME", "TIMESTAMP"])
def test_times_are_times(kind: pl.Datetime, config: DataConfig, bars: pl.DataFrame, bigquery: Any) -> None:
    bigquery.table = bars.cast({"date": kind})
    rows = fetch(config, since=datetime.date(2020, 1, 28))
    assert_frame_equal(rows.sort("series_id", "date"), bigquery.table.filter(pl.col("date").dt.day() >= 28))


def test_no_rows_are_a_table_without_rows(config: DataConfig, bars: pl.DataFrame) -> None:
    rows = fetch(config, since=datetime.date(2021, 1, 1))
    assert rows.schema == bars.schema
    assert rows.height == 0


@pytest.mark.parametrize("kind", ["table", "query", "job", "page"])
@pytest.mark.parametrize("fault", ["503 backendError", "429 rateLimitExceeded", "reset", "half"])
def test_what_passes_is_tried_again(
    kind: str, fault: str, config: DataConfig, bars: pl.DataFrame, bigquery: Any
) -> None:
    bigquery.faults = {kind: [fault]}
    assert_frame_equal(fetch(config).sort("series_id", "date"), bars)
    assert bigquery.faults == {kind: []}


@pytest.mark.parametrize("kind", ["table", "query", "job", "page"])
@pytest.mark.parametrize("fault", ["403 accessDenied", "403 quotaExceeded", "400 invalidQuery", "404 notFound"])
def test_what_does_not_pass_is_refused_at_once(kind: str, fault: str, config: DataConfig, bigquery: Any) -> None:
    bigquery.faults = {kind: [fault] * 3}
    with pytest.raises(DataError, match=rf"BigQuery refuses shop\.prices\.daily: .*{fault.split()[1]}"):
        fetch(config)
    assert bigquery.faults == {kind: [fault] * 2}


def test_short_rows_are_noticed(config: DataConfig, bigquery: Any) -> None:
    bigquery.lost_rows = 7
    with pytest.raises(SourceUnavailable, match="announced 60 rows and gave 53; start the command again"):
        fetch(config)


@pytest.mark.parametrize("kind", ["table", "query", "job", "page"])
def test_a_hang_ends_at_the_deadline(
    kind: str, config: DataConfig, bigquery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.cloud.bigquery.client._MIN_GET_QUERY_RESULTS_TIMEOUT", 0.3)
    short = config.bigquery.model_copy(update={"timeout_s": 0.5})
    bigquery.faults = {kind: ["hang"] * 9}
    with pytest.raises(SourceUnavailable, match=r"did not answer within data\.bigquery\.timeout_s of 0\.5 s"):
        fetch(config.model_copy(update={"bigquery": short}))
    assert len(bigquery.faults[kind]) < 9


def test_a_server_that_is_not_there_is_unavailable(config: DataConfig) -> None:
    gone = config.bigquery.model_copy(update={"api_endpoint": "http://127.0.0.1:9", "timeout_s": 0.5})
    with pytest.raises(SourceUnavailable, match="start the command again"):
        fetch(config.model_copy(update={"bigquery": gone}))


def test_a_restarted_export_takes_its_job_up_again(
    config: DataConfig, bars: pl.DataFrame, bigquery: Any, tmp_path: Path
) -> None:
    note = tmp_path / "job.json"
    source = BigQuerySource(config, note)
    next(source.batches(source.columns(), None))
    assert json.loads(note.read_text())["job"] == "job-1"
    assert_frame_equal(fetch(config, note=note).sort("series_id", "date"), bars)
    assert len(bigquery.queries) == 1


def test_the_job_is_noted_before_it_is_waited_for(config: DataConfig, bigquery: Any, tmp_path: Path) -> None:
    note = tmp_path / "job.json"
    bigquery.faults = {"page": ["403 accessDenied"]}
    with pytest.raises(DataError):
        fetch(config, note=note)
    assert json.loads(note.read_text())["job"] == "job-1"


@pytest.mark.parametrize(
    "change", [{"at": 0}, {"asked": "else"}, {"job": "job-of-yesterday"}], ids=["old", "other", "forgotten"]
)
def test_another_job_is_not_taken_up(change: dict[str, Any], config: DataConfig, bigquery: Any, tmp_path: Path) -> None:
    note = tmp_path / "job.json"
    assert fetch(config, note=note).height == 60
    note.write_text(json.dumps(json.loads(note.read_text()) | change))
    assert fetch(config, note=note).height == 60
    assert len(bigquery.queries) == 2


def test_a_torn_note_is_no_note(config: DataConfig, tmp_path: Path) -> None:
    note = tmp_path / "job.json"
    note.write_text('{"job": "jo')
    assert fetch(config, note=note).height == 60


def test_the_stand_in_gets_no_credentials(config: DataConfig) -> None:
    assert isinstance(BigQuerySource(config)._credentials, AnonymousCredentials)


def test_real_credentials_are_asked_for_reading_only(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def default(scopes: Any) -> tuple[Any, str]:
        asked.extend(scopes)
        return AnonymousCredentials(), "shop"

    monkeypatch.setattr("google.auth.default", default)
    real = config.bigquery.model_copy(update={"api_endpoint": None})
    assert BigQuerySource(config.model_copy(update={"bigquery": real}))._credentials is not None
    assert asked
    assert all(scope.endswith((".readonly", ".read-only")) for scope in asked)


@pytest.mark.parametrize(
    "name",
    [
        "prices.daily",
        "shop.prices.daily; DROP TABLE x",
        "shop.prices.`daily`",
        "shop.prices.daily\n",
        "",
        "a.b.c.d",
        "shöp.b.c",
    ],
)
def test_a_table_name_is_held_to_a_pattern(name: str) -> None:
    with pytest.raises(ValidationError, match=r"must be `project\.dataset\.table`"):
        BigQueryConfig(table=name)


def test_a_column_name_is_held_to_a_pattern(config: DataConfig) -> None:
    with pytest.raises(DataError, match="must consist of letters, digits and _, got 'close`, x'"):
        list(BigQuerySource(config).batches(["date", "close`, x"], None))


def test_a_type_that_no_table_holds_is_refused(config: DataConfig) -> None:
    source = BigQuerySource(config)
    source._types["close"] = "BIGNUMERIC"
    with pytest.raises(DataError, match=r"`close` must be of a type that a table can hold, got BIGNUMERIC"):
        list(source.batches(source.columns(), None))


def test_a_date_column_of_text_is_refused(config: DataConfig) -> None:
    with pytest.raises(DataError, match=r"`regime` must be a DATE, DATETIME or TIMESTAMP .*, got STRING"):
        fetch(config.model_copy(update={"date": "regime"}))


def test_a_table_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"add `--data\.bigquery\.table PROJECT\.DATASET\.TABLE`"):
        load(DataConfig(kind="bigquery"))
