"""The export as a person runs it: what it prints, its exit codes, a kill at any of its writes."""

import datetime
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from raytrain.config import load
from raytrain.data import DataConfig
from raytrain.data.export import ExportConfig
from raytrain.data.sources import open_source
from raytrain.jobs import _command
from raytrain.jobs.export import export_job
from raytrain.work.lock import hold

ROOT = Path(__file__).parents[2]
KILLED_AT = """
import os, signal, sys
left = int(sys.argv.pop(1))
def dying(real):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call
for name in ("fsync", "rename", "replace", "symlink", "rmdir"):
    setattr(os, name, dying(getattr(os, name)))
from raytrain.data.export import ExportConfig
from raytrain.jobs import _command
from raytrain.jobs.export import export_job
_command.main(ExportConfig, export_job, "", ["full"])
"""
"""Runs the job and kills itself before the n-th call that makes something last."""


def bars(days: int) -> pl.DataFrame:
    dates = [datetime.date(2018, 12, 15) + datetime.timedelta(days=i) for i in range(days)]
    return pl.DataFrame({"date": dates, "close": [float(i) for i in range(days)]})


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    bars(30).write_parquet(tmp_path / "oil.parquet")
    path, out = str(tmp_path / "oil.parquet"), str(tmp_path / "out")
    return ["--data.kind", "parquet", "--data.path", path, "--out", out]


def run(options: list[str]) -> int:
    return _command.run(ExportConfig, export_job, "", ["full"], options)


def read(out: Path) -> pl.DataFrame:
    return open_source(DataConfig(kind="snapshot", path=out)).read(["date", "close"])


def test_two_exports_and_one_with_nothing_new(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options) == 0
    assert capsys.readouterr().out.splitlines() == [
        "30 rows fetched: 30 new, 0 values restated",
        f"snapshot {tmp_path / 'out' / '000001'}: 30 rows, 2018-12-15 to 2019-01-13, 2 files",
        f"read it with: --data.kind snapshot --data.path {tmp_path / 'out'}",
    ]
    assert run(options) == 0
    assert "8 rows fetched: no new data" in capsys.readouterr().out
    bars(31).write_parquet(tmp_path / "oil.parquet")
    assert run([*options, "--overlap_days", "2"]) == 0
    assert "4 rows fetched: 1 new, 0 values restated" in capsys.readouterr().out
    assert_frame_equal(read(tmp_path / "out"), bars(31))


def test_one_series_keeps_its_name(options: list[str], tmp_path: Path) -> None:
    run(options)
    assert open_source(DataConfig(kind="snapshot", path=tmp_path / "out")).name == "oil"


@pytest.mark.parametrize(
    ("extra", "code", "said"),
    [
        (["--data.path", "/nowhere.parquet"], 4, "data.path must exist, got /nowhere.parquet"),
        (["--data.date", "day"], 4, "data.date must name a column of the source, got `day`"),
        (["--compresion", "zstd"], 4, "did you mean `compression`?"),
        (["--format", "csv"], 4, "`format`"),
        (["--data.kind", "bigquery"], 4, "add `--data.bigquery.table PROJECT.DATASET.TABLE`"),
        (["--data.kind", "bigquery", "--data.bigquery.table", "a.b"], 4, "must be `project.dataset.table`"),
    ],
)
def test_wrong_input_is_one_message(
    extra: list[str], code: int, said: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options, *extra]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err


def test_a_source_that_does_not_answer_is_no_wrong_input(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = ["--data.bigquery.api_endpoint", "http://127.0.0.1:9", "--data.bigquery.timeout_s", "0.3"]
    table = ["--data.kind", "bigquery", "--data.bigquery.table", "a.b.c"]
    assert run([*options, *table, *nobody]) == 3
    assert "start the command again" in capsys.readouterr().err


def test_two_exports_at_once_do_not_mix(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with hold(tmp_path / "out", "export"):
        assert run(options) == 75
    assert "one run at a time may hold" in capsys.readouterr().err


def test_the_shipped_config_is_one_of_an_export() -> None:
    config = load(ExportConfig, [ROOT / "configs" / "export_bigquery.yaml"])
    assert config.data.kind == "bigquery"
    assert config.data.first_date == datetime.date(2015, 1, 1)


def test_a_kill_at_any_write_leaves_the_old_or_the_new(options: list[str], tmp_path: Path) -> None:
    """And nothing else, once the job was run again."""
    out, source = tmp_path / "out", tmp_path / "oil.parquet"
    seen: list[int] = []
    for number in range(1, 60):
        newer = 30 + number
        bars(newer).write_parquet(source)
        before = read(out).height if seen else 0
        command = [sys.executable, "-c", KILLED_AT, str(number), *options]
        code = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).returncode
        if (out / "latest").exists():
            seen.append(read(out).height)
            assert seen[-1] in (before, newer)
            assert_frame_equal(read(out), bars(seen[-1]))
        assert run(options) == 0
        assert_frame_equal(read(out), bars(newer))
        left = {path.name for path in out.iterdir() if not path.name.isdecimal()}
        assert left <= {"latest", ".lock"}
        if code == 0:
            break
        assert code == -signal.SIGKILL
        seen.append(newer)
    assert code == 0, "more writes than the loop tries"
    assert number > 8
