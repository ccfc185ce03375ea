"""From a run to a bundle to forecasts, as a person does it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.engines.process import engine_env
from raytrain.jobs import _command
from raytrain.jobs.predict import PredictConfig, predict

ROOT = Path(__file__).parents[2]
# One family of each engine and a threshold, each alone on its target; as small as they come.
CONFIG = """
data: {kind: parquet}
targets:
  - {kind: return, horizon: 1, label: 1d}
  - {kind: return, horizon: 5, label: 1w}
  - {kind: return, horizon: 10, label: 2w}
  - {kind: return, horizon: 21, label: 1m}
  - {kind: threshold, horizon: 5, label: 1w, threshold: 0.02}
folds: {test_span: 1q, num_folds: 1}
families: [har, lightgbm_quantile, lightgbm, gru, mlp]
params:
  lightgbm_quantile: {num_rounds: 10}
  lightgbm: {num_rounds: 10}
  gru: {num_epochs: 1, window: 5, num_hidden: 4}
  mlp: {num_epochs: 1}
tracking: {mlflow: false}
cluster: {dashboard: false}
"""
ALONE = {
    "return_1d": "har",
    "return_1w": "lightgbm_quantile",
    "return_2w": "gru",
    "return_1m": "mlp",
    "threshold_1w": "lightgbm",
}


def _predict(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raytrain.jobs.predict", *options]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=240, check=False)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_bundles_reproduce_the_runs_forecast(start_daily: Callable[..., Any], table: Path, tmp_path: Path) -> None:
    """`latest/forecast.parquet`, to the bit, for a family of each engine, a formula and a threshold."""
    path, plan = tmp_path / "run.yaml", tmp_path / "plan.yaml"
    path.write_text(CONFIG)
    plan.write_text(json.dumps({"by_target": {target: {"only": [family]} for target, family in ALONE.items()}}))
    options = ["--data.path", str(table), "--store", str(tmp_path / "store"), "--plan", str(plan)]
    with start_daily(["--config", str(path), *options]) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    forecast = pl.read_parquet(tmp_path / "store" / "latest" / "forecast.parquet")
    assert dict(forecast.select("target", "family").unique().iter_rows()) == ALONE

    written = json.loads((tmp_path / "store" / "latest" / "bundles.json").read_text())
    assert {target: one["family"] for target, one in written.items()} == ALONE
    assert {target for target, one in written.items() if one["onnx"]} == set(ALONE) - {"return_1d"}
    for target, one in written.items():
        path = tmp_path / f"{target}.parquet"
        told = _predict("--bundle", str(tmp_path / "store" / one["bundle"]), "--data", str(table), "--out", str(path))
        assert told.returncode == 0, told.stderr
        found = pl.read_parquet(path)
        assert found.equals(forecast.filter(target=target).select(found.columns))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job sets up its process, which here is that of the tests."""
    for name, value in engine_env("native", 1, "cpu").items():
        monkeypatch.setenv(name, value)


def _run(*options: str) -> int:
    return _command.run(PredictConfig, predict, "", [], list(options))


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_the_ending_says_how_forecasts_are_written(bundle: Path, table: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"out.{ending}"
    assert _run("--bundle", str(bundle), "--data", str(table), "--out", str(out)) == 0
    read = {"csv": pl.read_csv, "json": pl.read_json, "parquet": pl.read_parquet}[ending]
    assert read(out)["target"].to_list() == ["return_1w", "return_1w"]


def test_without_a_file_they_are_printed_as_csv(bundle: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--bundle", str(bundle), "--data", str(table)) == 0
    printed = pl.read_csv(capsys.readouterr().out.encode())
    assert printed.columns[:6] == ["target", "label", "horizon", "series_id", "date", "close"]
    assert printed.height == 2


def test_rows_may_be_text_or_one_file_per_series(bundle: Path, table: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(table)
    rows.write_csv(tmp_path / "rows.csv")
    (tmp_path / "folder").mkdir()
    for (name,), part in rows.group_by("series_id"):
        part.drop("series_id").write_parquet(tmp_path / "folder" / f"{name}.parquet")
    found = []
    for given in (table, tmp_path / "rows.csv", tmp_path / "folder"):
        assert _run("--bundle", str(bundle), "--data", str(given), "--out", str(tmp_path / "out.parquet")) == 0
        found.append(pl.read_parquet(tmp_path / "out.parquet"))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_what_is_wrong_is_said_in_one_message(
    bundle: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pl.read_parquet(table)
    rows.drop("close").write_parquet(tmp_path / "no_price.parquet")
    rows.with_columns(pl.lit(float("nan")).alias("close")).write_parquet(tmp_path / "nan.parquet")
    (tmp_path / "rows.txt").write_text("a")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "SHA256SUMS").write_text("")
    (damaged / "more").write_text("")
    good = str(table)
    for folder, data, out, said in [
        (bundle, str(tmp_path / "no_price.parquet"), "o.csv", "must have the column close"),
        (bundle, str(tmp_path / "nan.parquet"), "o.csv", "must be known on every row, got 1800 rows"),
        (bundle, str(tmp_path / "rows.txt"), "o.csv", "that ends in .parquet"),
        (bundle, str(tmp_path / "nowhere.csv"), "o.csv", "which is not there"),
        (bundle, good, "o.xls", "must end in .parquet, .csv, .json, got"),
        (damaged, good, "o.csv", "more was added"),
        (tmp_path / "nowhere", good, "o.csv", "must be a folder with SHA256SUMS"),
    ]:
        assert _run("--bundle", str(folder), "--data", data, "--out", str(tmp_path / out)) == 4
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        assert said in message
        assert not (tmp_path / out).exists()


def test_notes_go_beside_the_forecasts(
    bundle: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pl.read_parquet(table).with_columns(rumour=pl.lit(1))
    rows.write_parquet(tmp_path / "rows.parquet")
    assert _run("--bundle", str(bundle), "--data", str(tmp_path / "rows.parquet")) == 0
    out, err = capsys.readouterr()
    assert err == "note: ignored 2 columns that the bundle does not read: noise, rumour\n"
    assert "note" not in out


def test_the_graph_is_refused_where_there_is_none(
    bundle: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("--bundle", str(bundle), "--data", str(table), "--runtime", "onnx") == 4
    assert "has no ONNX graph" in capsys.readouterr().err
