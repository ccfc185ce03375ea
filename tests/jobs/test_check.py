"""The check as a person runs it."""

import json
from pathlib import Path

import polars as pl
import pytest

from raytrain.jobs import _command
from raytrain.jobs.check import CheckConfig, check


def run(options: list[str]) -> int:
    return _command.run(CheckConfig, check, "", [], options)


@pytest.fixture
def options(tiny: list[str], tmp_path: Path) -> list[str]:
    return [*tiny, "--out", str(tmp_path / "checked")]


def test_a_sound_table_passes_and_is_written_down(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options) == _command.OK

    assert "0 errors" in capsys.readouterr().out
    written = json.loads((tmp_path / "checked" / "diagnostics.json").read_text())
    assert written["counts"]["error"] == 0
    assert written["schema"]["close"] == "Float64"
    assert "<table" in (tmp_path / "checked" / "diagnostics.html").read_text() or not written["findings"]
    assert not (tmp_path / "store").exists()


def test_a_look_ahead_is_refused(options: list[str], table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    close = pl.col("close")
    planted = (close.shift(-1) / close).log().over("series_id")
    pl.read_parquet(table).with_columns(planted=planted).write_parquet(table)
    steps = '[{"step": "as_is", "columns": ["planted"]}]'

    assert run([*options, "--features.steps", steps]) == _command.BAD_INPUT

    out = capsys.readouterr().out
    assert "leakage" in out
    assert "planted" in out
    assert "1 error," in out


def test_a_column_that_went_is_reported_once(
    options: list[str], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options) == _command.OK
    pl.read_parquet(table).drop("noise").write_parquet(table)

    reported = []
    for _ in range(2):
        capsys.readouterr()
        assert run(options) == _command.OK
        reported.append("type_drift" in capsys.readouterr().out)

    assert reported == [True, False]
