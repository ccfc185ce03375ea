"""Bad input: exit code 4, one message with the rule, the value and the way out, nothing written."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from raytrain.jobs import _command
from raytrain.jobs.daily import daily
from raytrain.run_config import RunConfig

Change = Callable[[pl.DataFrame], pl.DataFrame]


def run(options: list[str]) -> int:
    return _command.run(RunConfig, daily, "", ["dry-run"], options)


def refused(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one message of a refused run."""
    assert run(options) == 4
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert "Traceback" not in out + err
    assert not (tmp_path / "store").exists()
    return err


TABLES: dict[str, tuple[Change, str]] = {
    "missing column": (lambda t: t.rename({"close": "closing"}), "did you mean `closing`?"),
    "NaN price": (
        lambda t: t.with_columns(close=pl.when(pl.int_range(pl.len()) == 7).then(float("nan")).otherwise("close")),
        "the price must be known and finite on every row, got nan",
    ),
    "negative price": (
        lambda t: t.with_columns(close=pl.when(pl.int_range(pl.len()) == 7).then(-1.0).otherwise("close")),
        "got -1.0 in `close` for A",
    ),
    "zero price": (
        lambda t: t.with_columns(close=pl.when(pl.int_range(pl.len()) == 7).then(0.0).otherwise("close")),
        "got 0.0 in `close` for A",
    ),
    "duplicates": (lambda t: pl.concat([t, t.head(2)]), "one row per date, got 2 for A"),
    "unsorted": (lambda t: t.reverse(), "dates must rise within a series"),
    "too short": (lambda t: t.head(300), "or bring more rows"),
    "no rows": (lambda t: t.head(0), "must have rows, got 0"),
    "text as dates": (lambda t: t.with_columns(date=pl.lit("soon")), "must hold dates or times, got String"),
    "text as price": (lambda t: t.with_columns(close=pl.lit("dear")), "must hold numbers, got String"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table_is_refused(
    name: str, table: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = TABLES[name]
    change(pl.read_parquet(table)).write_parquet(table)
    assert said in refused([*tiny, "--families", "naive"], tmp_path, capsys)


OPTIONS: dict[str, tuple[list[str], str]] = {
    "unknown family": (["--families", "lightgmb"], "did you mean `lightgbm`?"),
    "unknown parameter": (["--params.naive.row", "3"], "not a parameter of naive"),
    "parameters of an unknown family": (["--params.nave.rows", "3"], "did you mean `naive`?"),
    "unknown key": (["--fold.num_folds", "3"], "did you mean `folds.num_folds`?"),
    "wrong type": (["--folds.num_folds", "three"], "got 'three' in the command line"),
    "no path": (["--data.path", "/nowhere/at/all.parquet"], "data.path must exist, got /nowhere/at/all.parquet"),
    "a span that is none": (["--folds.test_span", "1 fortnight"], "must be a calendar length"),
    "no median": (["--quantiles", "0.1,0.9"], "contain 0.5"),
    "same target twice": (["--targets", '[{"horizon": 1}, {"horizon": 1}]'], "each target needs a label of its own"),
    "unknown machine": (["--machine", "m4-pro-24gb"], "did you mean `m4pro-24gb`?"),
    "not a parquet file": (["--data.path", __file__], "must be a readable parquet file"),
    "not a snapshot": (["--data.kind", "snapshot", "--data.path", str(Path(__file__).parent)], "manifest"),
    "a horizon of zero": (["--targets", '[{"horizon": 0}]'], "targets[0].horizon"),
    "unknown step column": (
        ["--features.steps", '[{"step": "lag", "columns": ["nois"], "rows": [1]}]'],
        "did you mean `noise`?",
    ),
    "logarithm of a negative": (
        ["--features.steps", '[{"step": "log_return", "columns": ["noise"], "rows": [1]}]'],
        "use step `difference`",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_bad_option_is_refused(
    name: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, said = OPTIONS[name]
    assert said in refused([*tiny, "--families", "naive", *options], tmp_path, capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [("families: naive", "families"), ("seeds: [42]\nseeds: [43]", "`seeds` twice"), ("folds: [", "not YAML")],
)
def test_a_bad_file_is_refused(
    text: str, said: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    message = refused([*tiny, "--config", str(path)], tmp_path, capsys)
    assert said in message
    assert "bad.yaml" in message


def test_a_column_that_knows_tomorrow_stops_the_run(
    table: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ahead = pl.col("close").shift(-1).over("series_id") / pl.col("close") - 1
    pl.read_parquet(table).with_columns(peek=ahead).write_parquet(table)
    steps = '[{"step": "as_is", "columns": ["peek"]}]'
    message = refused([*tiny, "--families", "naive", "--features.steps", steps], tmp_path, capsys)
    assert "leakage peek: " in message


def test_a_dry_run_plans_and_writes_nothing(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*tiny, "--families", "naive", "--dry-run"]) == 0
    assert ": 6 fits, 0 stored, 6 to run" in capsys.readouterr().out
    assert not (tmp_path / "store").exists()


def test_print_config_shows_what_will_run(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*tiny, "--params.naive.num_rows", "300", "--print-config"]) == 0
    out = capsys.readouterr().out
    assert "num_rows: 300" in out
    assert "test_span: 1q" in out


def test_help_lists_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert "--data.kind" in out
    assert "--dry-run" in out
