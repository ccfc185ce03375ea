"""Exports into one folder: everything, then what is new; what was restated is listed; what is wrong changes nothing."""

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.data import DataConfig, load
from raytrain.data.bigquery import SourceUnavailable
from raytrain.data.bigquery_config import BigQueryConfig
from raytrain.data.export import ExportConfig, Exported, export
from raytrain.data.snapshot import Snapshot
from raytrain.data.sources import open_source
from raytrain.errors import DataError

KEYS = ["date", "series_id"]
EXPORT = """
import sys
from raytrain.data.export import ExportConfig, export
from raytrain.data.export_folder import ExportFolder
from raytrain.data.sources import open_source
config = ExportConfig.model_validate_json(sys.argv[1])
export(open_source(config.data, ExportFolder(config.out).job_note), config)
"""
Change = Callable[[pl.DataFrame], pl.DataFrame]


def panel(days: int) -> pl.DataFrame:
    """Two series from 15 December 2018 on, date by date."""
    dates = [datetime.date(2018, 12, 15) + datetime.timedelta(days=i) for i in range(days)]
    parts = [
        pl.DataFrame(
            {"date": dates, "series_id": name, "close": [start + i / 4 for i in range(days)], "rows": range(days)}
        )
        for name, start in (("A", 10.0), ("B", 20.0))
    ]
    return pl.concat(parts).sort(KEYS)


class Desk:
    """A source file and the folder that it is exported into."""

    def __init__(self, root: Path) -> None:
        self.source, self.out = root / "source.parquet", root / "out"

    def export(self, table: pl.DataFrame, full: bool = False, **given: Any) -> Exported:
        table.write_parquet(self.source)
        data = DataConfig(kind="parquet", path=self.source, columns=given.pop("columns", ()))
        config = ExportConfig(out=self.out, data=data, **given)
        return export(open_source(config.data), config, full=full)

    def read(self) -> pl.DataFrame:
        config = DataConfig(kind="snapshot", path=self.out)
        source = open_source(config)
        return source.read(source.columns()).sort(KEYS)

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Everything below the folder, with inode and content."""
        paths = [path for path in self.out.rglob("*") if path.is_file() and not path.is_symlink()]
        return {str(path.relative_to(self.out)): (path.stat().st_ino, path.read_bytes()) for path in paths}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def at(series: str, day: datetime.date) -> pl.Expr:
    return (pl.col("series_id") == series) & (pl.col("date") == day)


def restate(table: pl.DataFrame, series: str, day: datetime.date, value: float | None) -> pl.DataFrame:
    return table.with_columns(pl.when(at(series, day)).then(value).otherwise("close").alias("close"))


def test_the_first_export_is_everything(desk: Desk) -> None:
    done = desk.export(panel(30))
    assert (done.is_new, done.fetched, done.added, done.restated, done.notes) == (True, 60, 60, 0, ())
    assert_frame_equal(desk.read(), panel(30))
    manifest = json.loads((desk.out / "latest" / "manifest.json").read_text())
    assert [entry["file"] for entry in manifest["files"]] == ["2018.parquet", "2019.parquet"]
    assert manifest["files"][0]["columns"]["close"] == "Float64"
    assert [entry["first_date"] for entry in manifest["files"]] == ["2018-12-15", "2019-01-01"]
    assert [entry["rows"] for entry in manifest["files"]] == [34, 26]
    assert manifest["source"] == str(desk.source)
    assert datetime.datetime.fromisoformat(manifest["exported_at"]).tzinfo is not None


def test_an_increment_brings_what_is_new_and_leaves_other_years_as_they_are(desk: Desk) -> None:
    first = desk.export(panel(60)).snapshot.folder
    done = desk.export(panel(70))
    assert (done.is_new, done.fetched, done.added, done.restated) == (True, 36, 20, 0)
    assert_frame_equal(desk.read(), panel(70))
    assert_frame_equal(Snapshot.open(first).read().sort(KEYS), panel(60))
    assert os.readlink(desk.out / "latest") == "000002"
    old, new = (desk.out / name / "2018.parquet" for name in ("000001", "000002"))
    assert old.read_bytes() == new.read_bytes()
    assert old.stat().st_ino != new.stat().st_ino, "damage to one would be damage to both"


def test_an_empty_increment_changes_nothing(desk: Desk) -> None:
    desk.export(panel(60))
    before = desk.files()
    done = desk.export(panel(60))
    assert (done.is_new, done.fetched, done.added, done.restated) == (False, 16, 0, 0)
    assert done.snapshot.folder.name == "000001"
    assert desk.files() == before


def test_restated_values_win_and_are_listed(desk: Desk) -> None:
    desk.export(panel(60))
    day = datetime.date(2019, 2, 10)
    done = desk.export(restate(panel(61), "B", day, -1.5))
    assert (done.added, done.restated) == (2, 1)
    assert_frame_equal(desk.read(), restate(panel(61), "B", day, -1.5))
    [found] = pl.read_parquet(desk.out / "latest" / "restatements.parquet").to_dicts()
    assert found.pop("exported_at") == done.snapshot.manifest.exported_at
    assert found == {
        "series": "B",
        "date": datetime.datetime(2019, 2, 10),
        "column": "close",
        "old": "34.25",
        "new": "-1.5",
    }


def test_a_restated_value_makes_other_data(desk: Desk) -> None:
    """Keys of results and caches are made of what was read: what has seen the old value is not found again."""

    def content() -> str:
        return load(DataConfig(kind="snapshot", path=desk.out)).content_hash()

    desk.export(panel(60))
    before = content()
    desk.export(panel(60))
    assert content() == before
    desk.export(restate(panel(60), "B", datetime.date(2019, 2, 10), -1.5))
    assert content() != before
    desk.export(panel(60))
    assert content() == before


def test_restatements_add_up(desk: Desk) -> None:
    desk.export(panel(60))
    desk.export(restate(panel(60), "A", datetime.date(2019, 2, 10), None))
    desk.export(panel(60))
    desk.export(panel(61))
    listed = pl.read_parquet(desk.out / "latest" / "restatements.parquet")
    assert listed.select("old", "new").rows() == [("24.25", None), (None, "24.25")]
    assert_frame_equal(desk.read(), panel(61))


def test_an_unknown_value_that_stays_unknown_is_no_restatement(desk: Desk) -> None:
    day = datetime.date(2019, 2, 10)
    desk.export(restate(panel(60), "A", day, float("nan")))
    assert not desk.export(restate(panel(60), "A", day, float("nan"))).is_new
    assert desk.export(restate(panel(60), "A", day, None)).restated == 1


def test_what_is_older_than_the_overlap_is_not_looked_at(desk: Desk) -> None:
    desk.export(panel(60))
    changed = restate(panel(61), "A", datetime.date(2019, 1, 10), 7.0)
    assert desk.export(changed).restated == 0
    assert desk.export(changed, overlap_days=40).restated == 1
    assert_frame_equal(desk.read(), changed)


def test_a_whole_export_takes_the_source_as_it_is(desk: Desk) -> None:
    desk.export(panel(60))
    changed = restate(panel(61), "A", datetime.date(2018, 12, 20), 7.0).filter(~at("B", datetime.date(2019, 1, 3)))
    done = desk.export(changed, full=True)
    assert (done.fetched, done.added, done.restated) == (121, 2, 1)
    assert done.notes == ("1 rows of the last snapshot are no longer at the source; they are left out",)
    assert_frame_equal(desk.read(), changed)
    assert not desk.export(changed, full=True).is_new


def test_a_whole_export_drops_years_that_are_gone(desk: Desk) -> None:
    desk.export(panel(60))
    rest = panel(60).filter(pl.col("date").dt.year() == 2019)
    done = desk.export(rest, full=True)
    assert done.notes == ("34 rows of the last snapshot are no longer at the source; they are left out",)
    assert_frame_equal(desk.read(), rest)


def test_rows_that_vanish_from_the_overlap_are_kept_and_told(desk: Desk) -> None:
    desk.export(panel(60))
    done = desk.export(panel(61).filter(~at("A", datetime.date(2019, 2, 10))))
    assert done.notes == ("1 rows of the last snapshot are no longer at the source; they are kept",)
    assert_frame_equal(desk.read(), panel(61))


def test_late_rows_of_a_closed_year_are_taken_in(desk: Desk) -> None:
    late = at("B", datetime.date(2018, 12, 30))
    desk.export(panel(20).filter(~late))
    assert desk.export(panel(21)).added == 3
    assert_frame_equal(desk.read(), panel(21))


def test_a_source_that_says_when_its_rows_are_from_is_believed(desk: Desk) -> None:
    stamped = panel(60).with_columns(exported_at=pl.lit(2))
    desk.export(stamped)
    older = restate(panel(60), "A", datetime.date(2019, 2, 10), 7.0).with_columns(exported_at=pl.lit(1))
    assert not desk.export(older).is_new
    newer = older.with_columns(exported_at=pl.lit(3))
    assert desk.export(newer).restated == 1
    both = pl.concat([newer, stamped])
    assert not desk.export(both).is_new


def test_equal_rows_are_one(desk: Desk) -> None:
    done = desk.export(pl.concat([panel(30), panel(3)]))
    assert done.notes == ("6 rows were there twice; one of each was kept",)
    assert_frame_equal(desk.read(), panel(30))


WRONG: dict[str, tuple[Change, str]] = {
    "another type": (
        lambda t: t.cast({"close": pl.String}),
        "column `close` must keep its type, got String where the last snapshot has Float64",
    ),
    "another unit of time": (lambda t: t.cast({"date": pl.Datetime("us")}), "column `date` must keep its type"),
    "a removed column": (
        lambda t: t.drop("rows"),
        "column `rows` must stay, got a source without it where the last snapshot has it as Int64",
    ),
    "a removed series column": (lambda t: t.filter(series_id="A").drop("series_id"), "column `series_id` must stay"),
    "two rows of one key": (
        lambda t: pl.concat([t, t.with_columns(pl.col("close") + 1)]),
        "a series may have one row per date, got different ones for date",
    ),
    "texts as dates": (lambda t: t.with_columns(date=pl.lit("soon")), "must hold dates or times, got String such as"),
    "no date column": (lambda t: t.rename({"date": "day"}), "data.date must name a column of the source, got `date`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_and_changes_nothing(name: str, desk: Desk) -> None:
    desk.export(panel(60))
    before = desk.files()
    change, said = WRONG[name]
    with pytest.raises(DataError) as error:
        desk.export(change(panel(61)))
    assert said in str(error.value)
    assert desk.files() == before
    assert desk.export(panel(61)).added == 2


def test_a_row_without_a_date_is_refused(desk: Desk) -> None:
    with pytest.raises(DataError, match="every row must have a date, got 1 without"):
        desk.export(pl.concat([panel(5), panel(1)[:1].with_columns(date=pl.lit(None, pl.Date))]))
    assert not any(desk.out.iterdir())


def test_a_new_column_waits_until_it_is_named(desk: Desk) -> None:
    desk.export(panel(60))
    wider = panel(61).with_columns(vix=pl.lit(15.0))
    done = desk.export(wider)
    assert done.notes == ("new columns are left out until data.columns names them: vix",)
    assert_frame_equal(desk.read(), panel(61))
    done = desk.export(wider, columns=("rows", "vix"))
    assert done.fetched == 122
    assert done.notes == ("data.columns changed: everything was fetched again",)
    assert_frame_equal(desk.read(), wider)
    assert not desk.export(wider, columns=("rows", "vix")).is_new
    assert not desk.export(wider).is_new


def test_a_first_export_without_rows_is_refused(desk: Desk) -> None:
    with pytest.raises(DataError, match="a first export must find rows, got 0"):
        desk.export(panel(5).head(0))
    assert not any(desk.out.iterdir())


def test_packed_csv_holds_the_same_table(desk: Desk) -> None:
    desk.export(panel(60), format="csv.gz")
    desk.export(restate(panel(61), "A", datetime.date(2019, 2, 10), None), format="csv.gz")
    names = {path.name for path in (desk.out / "latest").iterdir()}
    assert names == {"2018.csv.gz", "2019.csv.gz", "manifest.json", "restatements.parquet"}
    assert_frame_equal(desk.read(), restate(panel(61), "A", datetime.date(2019, 2, 10), None))


def test_the_format_may_change(desk: Desk) -> None:
    desk.export(panel(60), compression="snappy")
    desk.export(panel(61), format="csv.gz")
    assert {path.name for path in (desk.out / "latest").glob("20*")} == {"2018.parquet", "2019.csv.gz"}
    assert_frame_equal(desk.read(), panel(61))


def test_only_the_configured_days_are_exported(desk: Desk) -> None:
    first, last = datetime.date(2018, 12, 20), datetime.date(2019, 1, 5)
    panel(60).write_parquet(desk.source)
    data = DataConfig(kind="parquet", path=desk.source, first_date=first, last_date=last)
    export(open_source(data), ExportConfig(out=desk.out, data=data))
    assert_frame_equal(desk.read(), panel(60).filter(pl.col("date").is_between(first, last)))


def test_a_damaged_newest_snapshot_is_refused_and_the_one_before_it_is_named(desk: Desk) -> None:
    desk.export(panel(60))
    second = desk.export(panel(61)).snapshot.folder
    path = second / "2018.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"000002/2018\.parquet was changed: .*; whole is .*/000001: name it in data\.path"
    ):
        load(DataConfig(kind="snapshot", path=desk.out))
    assert load(DataConfig(kind="snapshot", path=desk.out / "000001")).table.height == 120
    with pytest.raises(
        DataError, match=r"remove .*/000002 and export again: it goes on from .*/000001, which is whole"
    ):
        desk.export(panel(62))


def test_types_of_a_source_may_be_hourly_and_zoned(desk: Desk) -> None:
    hours = pl.datetime_range(
        datetime.datetime(2018, 12, 31), datetime.datetime(2019, 1, 2), "1h", time_zone="UTC", eager=True
    )
    table = pl.DataFrame({"date": hours, "close": range(len(hours))})
    desk.export(table.head(40))
    done = desk.export(
        table.with_columns(pl.when(pl.int_range(pl.len()) == 30).then(-1).otherwise("close").alias("close"))
    )
    assert (done.added, done.restated) == (len(hours) - 40, 1)
    listed = pl.read_parquet(desk.out / "latest" / "restatements.parquet")
    assert listed.select("series", "old", "new").rows() == [("source", "30", "-1")]


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/New_York", "UTC"])
@pytest.mark.parametrize("hours", range(24, 48, 5))
def test_without_an_overlap_no_hour_is_missed(zone: str, hours: int, desk: Desk) -> None:
    """The newest day is one of the column's own zone, not of UTC."""
    moments = pl.datetime_range(
        datetime.datetime(2019, 1, 1), datetime.datetime(2019, 1, 4), "1h", time_zone=zone, eager=True
    )
    table = pl.DataFrame({"date": moments, "series_id": "A", "close": range(len(moments))})
    desk.export(table[:hours], overlap_days=0)
    desk.export(table, overlap_days=0)
    assert_frame_equal(desk.read(), table)


def test_bigquery_is_exported_and_its_job_note_goes_with_the_end(bigquery: Any, desk: Desk) -> None:
    bigquery.table = panel(60)
    table = BigQueryConfig(table="shop.prices.daily", api_endpoint=bigquery.url)
    config = ExportConfig(out=desk.out, data=DataConfig(kind="bigquery", bigquery=table))
    note = desk.out / ".export-job.json"
    done = export(open_source(config.data, note), config)
    assert "FROM `shop.prices.daily` ORDER BY `date`" in done.snapshot.manifest.source
    bigquery.table = panel(61)
    assert export(open_source(config.data, note), config).added == 2
    assert_frame_equal(desk.read(), panel(61))
    assert bigquery.queries[1]["queryParameters"][0]["parameterValue"] == {"value": "2019-02-05"}
    assert not note.exists()


def test_a_bigquery_export_that_fell_short_writes_nothing_and_asks_anew(bigquery: Any, desk: Desk) -> None:
    bigquery.table, bigquery.lost_rows = panel(60), 3
    table = BigQueryConfig(table="shop.prices.daily", api_endpoint=bigquery.url)
    config = ExportConfig(out=desk.out, data=DataConfig(kind="bigquery", bigquery=table))
    note = desk.out / ".export-job.json"
    with pytest.raises(SourceUnavailable, match="announced 120 rows and gave 117"):
        export(open_source(config.data, note), config)
    assert not any(desk.out.iterdir())
    bigquery.lost_rows = 0
    assert export(open_source(config.data, note), config).added == 120
    assert len(bigquery.queries) == 2


def test_a_killed_bigquery_export_goes_on_with_its_job(bigquery: Any, desk: Desk) -> None:
    bigquery.table, bigquery.faults = panel(60), {"page": ["hang"]}
    table = BigQueryConfig(table="shop.prices.daily", api_endpoint=bigquery.url)
    config = ExportConfig(out=desk.out, data=DataConfig(kind="bigquery", bigquery=table))
    with subprocess.Popen([sys.executable, "-c", EXPORT, config.model_dump_json()]) as process:
        assert bigquery.hung.wait(60)
        process.kill()
    assert (desk.out / ".export-job.json").exists()
    export(open_source(config.data, desk.out / ".export-job.json"), config)
    assert_frame_equal(desk.read(), panel(60))
    assert len(bigquery.queries) == 1
    assert {path.name for path in desk.out.iterdir()} == {"000001", "latest"}


def test_a_torn_job_note_is_swept(desk: Desk) -> None:
    desk.out.mkdir()
    (desk.out / "..export-job.json.0a1b2c3d.tmp").write_text('{"job"')
    desk.export(panel(5))
    assert {path.name for path in desk.out.iterdir()} == {"000001", "latest"}
