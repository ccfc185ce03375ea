"""The daily job as a person runs it, on a small table."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.config import load
from raytrain.data.demo import load_demo
from raytrain.deploy.contents import Bundle
from raytrain.evaluation.champions.current import Champions
from raytrain.jobs import _command
from raytrain.jobs.promote import FLAGS, PromoteConfig
from raytrain.jobs.promote import promote as promote_job
from raytrain.pipeline import prepare
from raytrain.run_config import RunConfig
from raytrain.work.store import ResultStore

pytestmark = pytest.mark.cluster


def test_a_run_and_the_same_run_again(
    daily: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
    ray_left: Callable[[], dict[int, str]],
) -> None:
    options = [*tiny, "--families", "naive,lightgbm_quantile", "--tracking.mlflow", "true"]
    options += ["--params.lightgbm_quantile.num_rounds", "40", "--params.lightgbm_quantile.min_data_in_leaf", "10"]
    options += ["--params.lightgbm_quantile.scale", "none"]

    first = daily(options)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Traceback" not in first.stdout + first.stderr
    seen = summary()
    # 2 families x 2 targets x 3 folds, and one forecast for each target.
    assert seen["fits"]["total"] == seen["fits"]["ok"] == 14
    assert seen["status"] == "ok"
    assert 0 < seen["utilisation"] <= 1.05
    for name in ("predictions.parquet", "forecast.parquet", "report.html", "summary.json"):
        assert (tmp_path / "store" / "latest" / name).stat().st_size > 0
    assert (tmp_path / "store" / "mlflow.db").exists()
    assert {gate["verdict"] for gate in seen["gates"]} <= {"PROMOTE", "HOLD", "REJECT"}
    assert "heat: " in first.stdout
    assert not _left_after(ray_left, 10)

    second = daily(options)
    again = summary()
    assert second.returncode == 0
    assert again["run_id"] != seen["run_id"]
    assert again["fits"]["cached"] == again["fits"]["total"] == 14
    assert again["gates"] == seen["gates"]
    assert "Ray at" not in second.stdout

    _predictions_equal_a_plain_loop(load(RunConfig, [Path(options[1])], options[2:]), tmp_path)
    _forecast_stands_on_the_last_row(tmp_path)


def _left_after(left: Callable[[], dict[int, str]], seconds: float) -> dict[int, str]:
    end = time.monotonic() + seconds
    while (found := left()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def _predictions_equal_a_plain_loop(config: RunConfig, tmp_path: Path) -> None:
    """What a person would write by hand over the same folds, in one process without any scheduler."""
    import lightgbm

    run = prepare(config)
    store = ResultStore(tmp_path / "store")
    dataset = run.dataset
    compared = 0
    for fit in run.plan.fits:
        if fit.spec.family != "lightgbm_quantile":
            continue
        fold, target = fit.spec.fold, fit.spec.target
        label_date, y = dataset.label_date(target), dataset.y(target)
        train = dataset.usable & (dataset.date <= fold.cutoff) & (label_date <= fold.cutoff)
        test = (dataset.date >= fold.test_start) & (dataset.date < fold.test_end)
        days = np.unique(dataset.date[train])
        tail_start = days[int(len(days) * 0.85)]
        head = train & (label_date < tail_start)
        tail = train & (dataset.date >= tail_start)
        columns = []
        for level in config.quantiles:
            params = json.loads(fit.spec.params)
            booster = lightgbm.train(
                _lightgbm_params(params, level, fit.spec.seed),
                lightgbm.Dataset(np.asarray(dataset.x[head]), y[head], weight=np.ones(head.sum(), np.float32)),
                num_boost_round=params["num_rounds"],
                valid_sets=[
                    lightgbm.Dataset(np.asarray(dataset.x[tail]), y[tail], weight=np.ones(tail.sum(), np.float32))
                ],
                callbacks=[lightgbm.early_stopping(params["early_stopping_rounds"], verbose=False)],
            )
            columns.append(booster.predict(dataset.x[test]).astype(np.float32))
        by_hand = np.sort(np.stack(columns, axis=1), axis=1)
        stored = store.predictions(fit.spec.key).select("q0.1", "q0.5", "q0.9").to_numpy()
        np.testing.assert_array_equal(stored, by_hand)
        compared += len(by_hand)
    assert compared > 500


def _lightgbm_params(params: dict[str, Any], level: float, seed: int) -> dict[str, Any]:
    names = ("num_leaves", "max_depth", "learning_rate", "min_data_in_leaf", "feature_fraction", "bagging_fraction")
    return {name: params[name] for name in (*names, "bagging_freq")} | {
        "objective": "quantile",
        "alpha": level,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _forecast_stands_on_the_last_row(tmp_path: Path) -> None:
    forecast = pl.read_parquet(tmp_path / "store" / "latest" / "forecast.parquet")
    bars = pl.read_parquet(tmp_path / "bars.parquet")
    assert forecast.height == 4  # 2 targets x 2 series
    assert forecast["date"].dt.date().unique().to_list() == [bars["date"].max()]
    last = dict(bars.filter(pl.col("date") == bars["date"].max()).select("series_id", "close").iter_rows())
    for row in forecast.iter_rows(named=True):
        assert row["close"] == last[row["series_id"]]
        assert row["price_q0.5"] == pytest.approx(row["close"] * np.exp(row["q0.5"]))


def test_naive_in_the_report_is_what_a_hand_calculates(
    daily: Callable[..., Any], tmp_path: Path, summary: Callable[[], dict[str, Any]]
) -> None:
    options = ["--config", "configs/demo.yaml", "--families", "naive", "--store", str(tmp_path / "store")]
    done = daily([*options, "--tracking.mlflow", "false"])
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "store" / "latest" / "report.html").read_text()
    bars = load_demo().sort("series_id", "date")
    scores = pl.read_parquet(tmp_path / "store" / "latest" / "scores.parquet")
    for horizon in (1, 5, 21):
        errors = []
        for series in bars.partition_by("series_id"):
            dates, closes = series["date"].to_list(), series["close"].to_list()
            for row in range(len(closes) - horizon):
                if dates[row].year >= 2015:
                    errors.append(abs(closes[row] - closes[row + horizon]) / closes[row + horizon])
        by_hand = sum(errors) / len(errors)
        stored = scores.filter(pl.col("horizon") == horizon)["naive_mape"].item()
        assert stored == pytest.approx(by_hand, rel=1e-12)
        assert f"{100 * by_hand:.2f}" in page


@pytest.fixture
def planted(tmp_path: Path) -> list[str]:
    """Options of a run on a column that tells two thirds of what moves next week."""
    rng = np.random.default_rng(5)
    rows = 1400
    shocks = rng.normal(0, 0.01, rows)
    close = 100 * np.exp(np.cumsum(shocks))
    ahead = np.array([shocks[i + 1 : i + 6].sum() for i in range(rows)])
    hint = ahead + rng.normal(0, 0.7 * ahead.std(), rows)
    days = pl.date_range(pl.date(2010, 1, 1), pl.date(2020, 1, 1), "1d", eager=True)
    dates = days.filter(days.dt.weekday() <= 5).head(rows)
    pl.DataFrame({"date": dates, "close": close, "hint": hint}).write_csv(tmp_path / "planted.csv")
    config = tmp_path / "planted.yaml"
    config.write_text(
        """
data: {kind: csv}
features: {steps: [{step: as_is, columns: [hint]}, {step: volatility, rows: [21]}]}
targets: [{kind: return, horizon: 5, label: 1w}]
folds: {test_span: 1q, num_folds: 4}
families: [naive, lightgbm_quantile]
params: {lightgbm_quantile: {num_rounds: 150}}
tracking: {mlflow: false}
cluster: {dashboard: false}
"""
    )
    return ["--config", str(config), "--data.path", str(tmp_path / "planted.csv"), "--store", str(tmp_path / "store")]


@pytest.fixture
def looked(tmp_path: Path) -> list[str]:
    """Options that let pass what is too good to be true."""
    config = tmp_path / "looked.yaml"
    config.write_text("gates: {leak: {skill: {5: 1.0}, direction: 1.0, warnings: false}}")
    return ["--config", str(config)]


def test_a_leak_is_held_until_somebody_who_looked_lets_it_pass(
    daily: Callable[..., Any],
    planted: list[str],
    looked: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    """No honest column tells so much, and nothing else fails."""
    done = daily(planted)
    assert done.returncode == 0, done.stderr
    (held,) = (gate for gate in summary()["gates"] if gate["family"] == "lightgbm_quantile")
    assert held["verdict"] == "HOLD" and held["reason"].startswith("leak_skill fails: skill "), held
    failed = [rule["name"] for rule in held["rules"] if not rule["passed"]]
    assert failed == ["leak_skill", "leak_direction", "leak_warnings"]

    done = daily([*planted, *looked])
    assert done.returncode == 0, done.stderr
    verdicts = {gate["family"]: gate for gate in summary()["gates"]}
    assert verdicts["lightgbm_quantile"]["verdict"] == "PROMOTE", verdicts["lightgbm_quantile"]
    assert all(rule["passed"] for rule in verdicts["lightgbm_quantile"]["rules"])
    assert verdicts["naive"]["verdict"] == "HOLD"
    assert Champions.read(tmp_path / "store").by_target["return_1w"].family == "lightgbm_quantile"
    forecast = pl.read_parquet(tmp_path / "store" / "latest" / "forecast.parquet")
    assert forecast["verdict"].to_list() == ["PROMOTE"]


def test_a_rollback_brings_the_former_forecasts_back_to_the_bit(
    daily: Callable[..., Any], planted: list[str], looked: list[str], tmp_path: Path
) -> None:
    """Through the jobs a person uses; with one run's bundles kept, production still has its own."""
    store = tmp_path / "store"
    options = [*planted, *looked, "--families", "naive,lightgbm_quantile,ridge", "--keep_bundles", "1"]

    def forecast() -> bytes:
        done = daily(options)
        assert done.returncode == 0, done.stdout + done.stderr
        champion = Champions.read(store).by_target["return_1w"]
        content = (store / "latest" / "forecast.parquet").read_bytes()
        assert pl.read_parquet(content)["family"].to_list() == [champion.family]
        Bundle.open(store / json.loads((store / "latest" / "bundles.json").read_text())["return_1w"]["bundle"])
        return content

    def promote(*action: str) -> str:
        given = ["--store", str(store), "--tracking.mlflow", "false", *action]
        assert _command.run(PromoteConfig, promote_job, "", FLAGS, given) == 0
        return Champions.read(store).by_target["return_1w"].family

    stale = store / "bundles" / ("0" * 32)
    stale.mkdir(parents=True)
    first = forecast()
    assert not stale.exists(), "a run ends with the sweep of bundles"
    champion = Champions.read(store).by_target["return_1w"]
    assert promote("--to", "2") != champion.family
    second = forecast()
    assert not pl.read_parquet(second)["q0.5"].equals(pl.read_parquet(first)["q0.5"])
    assert champion.bundle is not None
    Bundle.open(store / champion.bundle)
    assert promote("--rollback") == champion.family
    assert Champions.read(store).by_target["return_1w"].bundle == champion.bundle
    assert forecast() == first
