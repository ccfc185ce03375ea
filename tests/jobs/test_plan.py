"""The plan as a person asks for it."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from raytrain.config import load
from raytrain.jobs import _command
from raytrain.jobs.plan import PlanConfig, plan
from raytrain.pipeline import prepare
from raytrain.run_config import RunConfig
from raytrain.work.fit import Control, run_fit
from raytrain.work.store import ResultStore


@pytest.fixture
def options(tiny: list[str]) -> list[str]:
    return [*tiny, "--families", '["naive", "har"]']


@pytest.fixture
def fitted(options: list[str]) -> Callable[[], None]:
    """Brings every fit of the plan into the store, as a run does."""

    def fit() -> None:
        run = prepare(load(RunConfig, [Path(options[1])], options[2:]))
        store = ResultStore(run.config.store)
        for one in run.plan.fits:
            result = run_fit(one.spec, run.dataset, Control(), store)
            store.write(one.spec.key, result.predictions, result.facts(one.spec) | {"prior": asdict(one.prior)})

    return fit


def run(options: list[str]) -> int:
    return _command.run(PlanConfig, plan, "", [], options)


def rows(out: str) -> list[list[str]]:
    """The table's cells."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]


def test_before_the_first_run_everything_is_to_be_trained(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options) == _command.OK
    out = capsys.readouterr().out
    assert rows(out) == [
        [family, target, "0", "0", "3", "never fitted (3)"]
        for family in ("naive", "har")
        for target in ("return_1d", "return_1w")
    ]
    assert "--why 'naive return_1d " in out
    assert not (tmp_path / "store").exists()


def test_one_more_day_leaves_forecasts_to_make(
    options: list[str], table: Path, fitted: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = pl.read_parquet(table)
    whole.filter(pl.col("date") < whole["date"].max()).write_parquet(table)
    fitted()
    assert run(options) == _command.OK
    out = capsys.readouterr().out
    assert {tuple(row[2:]) for row in rows(out)} == {("3", "0", "0", "")}
    assert "--why" not in out

    whole.write_parquet(table)
    assert run(options) == _command.OK
    assert {tuple(row[2:]) for row in rows(capsys.readouterr().out)} == {("2", "1", "0", "new rows (1)")}

    assert run([*options, "--params.naive.window", "99"]) == _command.OK
    found = {(row[0], *row[2:]) for row in rows(capsys.readouterr().out)}
    assert found == {("naive", "0", "0", "3", "parameters (3)"), ("har", "2", "1", "0", "new rows (1)")}


def test_why_tells_what_changed(
    options: list[str], fitted: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fitted()
    assert run([*options, "--why", "har return_1w 2018-04-01"]) == _command.OK
    assert "nothing changed" in capsys.readouterr().out
    changed = [*options, "--params.naive.window", "99"]
    assert run([*changed, "--why", "naive return_1w 2018-04-01"]) == _command.OK
    assert "parameters: `window` was 756, is 99" in capsys.readouterr().out


def test_the_forecast_of_the_newest_rows_can_be_asked_for(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options, "--why", "har return_1d latest"]) == _command.OK
    assert "never fitted" in capsys.readouterr().out


def test_an_unknown_key_is_bad_input(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*options, "--why", "zzz"]) == _command.BAD_INPUT
    assert "got `zzz`; the nearest is" in capsys.readouterr().err
