"""A synthetic run, complete in every table."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.evaluation.gates.decision import Decision, Rule
from raytrain.report.view import RunView

HORIZONS = {"1w": 5, "1m": 21, "3m": 63}
ENGINES = {"lightgbm": "native", "lstm": "torch", "mlp": "keras", "naive": "native", "ngboost": "native"}
FOLDS = ("2016", "2017", "2018")
Z90 = 1.2816


def make_view(series: tuple[str, ...] = ("SP500", "WTI"), num_dates: int = 240, seed: int = 7) -> RunView:
    """Random walks; every family but naive is a little off in its own way. Nothing here is a claim about a model."""
    random = np.random.default_rng(seed)
    bars = {name: _walk(random, num_dates + 70) for name in series}
    predictions = pl.DataFrame(_prediction_rows(bars, num_dates))
    return RunView(
        summary=_summary(series, num_dates),
        scores=pl.DataFrame(_score_rows()),
        fold_scores=pl.DataFrame(_fold_rows(random)),
        decisions=[_decision(row) for row in _score_rows()],
        predictions=predictions,
        forecast=pl.DataFrame(_forecast_rows(bars, num_dates)),
        fits=pl.DataFrame(_fit_rows(random)),
        failures=[
            {
                "family": "lstm",
                "target": "return_3m",
                "fold": "2018",
                "phase": "fit",
                "exception": "FitError: the loss became NaN at epoch 3, batch 17",
                "memory": 612_000_000,
                "advice": "lower the learning rate: --params.lstm.learning_rate 3e-4",
            }
        ],
    )


def _walk(random: np.random.Generator, num: int) -> list[tuple[date, float]]:
    prices = 100 * np.exp(np.cumsum(random.normal(0, 0.01, num)))
    return [(date(2017, 1, 2) + timedelta(days=day), float(price)) for day, price in enumerate(prices)]


def _prediction_rows(bars: dict[str, list[tuple[date, float]]], num_dates: int) -> list[dict[str, Any]]:
    rows = []
    for series_id, walk in bars.items():
        for label, horizon in HORIZONS.items():
            for number in range(num_dates):
                day, close = walk[number]
                later = walk[number + horizon] if number + horizon < num_dates else None
                for family in ENGINES:
                    rows.append(
                        {
                            "family": family,
                            "target": f"return_{label}",
                            "kind": "return",
                            "label": label,
                            "horizon": horizon,
                            "method": "log",
                            "fold": FOLDS[number * 3 // num_dates],
                            "series_id": series_id,
                            "date": day,
                            "label_date": later[0] if later else None,
                            "close": close,
                            "actual": math.log(later[1] / close) if later else None,
                            "price_actual": later[1] if later else None,
                            **_quantiles(family, horizon, math.sin(number / 9)),
                            "probability": None,
                        }
                    )
    return rows


def _quantiles(family: str, horizon: int, wave: float) -> dict[str, float | None]:
    spread = 0.01 * math.sqrt(horizon) * Z90
    middle = 0.0 if family == "naive" else 0.002 * math.sqrt(horizon) * wave
    if family == "lightgbm":
        return {"q0.1": None, "q0.5": middle, "q0.9": None}
    return {"q0.1": middle - spread, "q0.5": middle, "q0.9": middle + spread * (1 + 0.2 * wave)}


def _score_rows() -> list[dict[str, Any]]:
    rows = []
    for number, family in enumerate(ENGINES):
        for column, (label, horizon) in enumerate(HORIZONS.items()):
            skill = 0.0 if family == "naive" else 0.03 - 0.02 * number + 0.01 * column
            rows.append(
                {
                    "family": family,
                    "target": f"return_{label}",
                    "kind": "return",
                    "label": label,
                    "horizon": horizon,
                    "n": 460,
                    "mape": 0.02 * math.sqrt(column + 1) * (1 - skill / 10),
                    "rmse": 0.025 * math.sqrt(column + 1),
                    "loss": 0.0061 * (1 - skill),
                    "coverage": None if family == "lightgbm" else 0.78,
                    "coverage_nominal": None if family == "lightgbm" else 0.8,
                    "directional_accuracy": math.nan if family == "naive" else 0.53,
                    "sharpe": math.nan if family == "naive" else 0.4 - 0.2 * number,
                    "sharpe_long": 0.62,
                    "naive_mape": 0.02 * math.sqrt(column + 1),
                    "skill": skill,
                    "skill_low": skill - 0.015,
                    "skill_high": skill + 0.02,
                    "fold_wins": 0.67,
                    "judged_by": "skill",
                    "net_return": None,
                    "net_return_low": None,
                    "net_return_high": None,
                }
            )
    return rows


def _fold_rows(random: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            "family": family,
            "target": f"return_{label}",
            "label": label,
            "horizon": horizon,
            "fold": fold,
            "n": 150,
            "loss": 0.006 * (1 - skill),
            "naive_loss": 0.006,
            "skill": skill,
        }
        for family in ENGINES
        for label, horizon in HORIZONS.items()
        for fold in FOLDS
        for skill in [0.0 if family == "naive" else float(random.normal(0, 0.03))]
    ]


def _decision(score: dict[str, Any]) -> Decision:
    verdict = "HOLD" if score["family"] == "naive" or score["skill"] > 0 else "REJECT"
    rules = (
        Rule(name="mape", passed=True, value=score["mape"], threshold=0.03, text="MAPE 2.0 % is at most 3.0 %"),
        Rule(name="sharpe", passed=False, value=None, threshold=1.2, text="Sharpe could not be measured"),
    )
    return Decision(
        family=score["family"],
        target=score["target"],
        label=score["label"],
        horizon=score["horizon"],
        verdict=verdict,
        rules=() if score["family"] == "naive" else rules,
        reason="the yardstick" if score["family"] == "naive" else "Sharpe must be at least 1.2, got none.",
        first_date="2016-01-04",
        last_date="2018-12-31",
    )


def _forecast_rows(bars: dict[str, list[tuple[date, float]]], num_dates: int) -> list[dict[str, Any]]:
    rows = []
    for series_id, walk in bars.items():
        day, close = walk[num_dates - 1]
        for label, horizon in HORIZONS.items():
            quantiles = {"q0.1": -0.013 * math.sqrt(horizon), "q0.5": 0.002, "q0.9": 0.012 * math.sqrt(horizon)}
            rows.append(
                {
                    "target": f"return_{label}",
                    "label": label,
                    "horizon": horizon,
                    "family": "ngboost",
                    "verdict": "HOLD",
                    "series_id": series_id,
                    "date": day,
                    "target_date": None,
                    "close": close,
                    **quantiles,
                    **{f"price_{name}": close * math.exp(value) for name, value in quantiles.items()},
                    "probability": None,
                }
            )
    return rows


def _fit_rows(random: np.random.Generator) -> list[dict[str, Any]]:
    clock = {"core-1": 1.0, "core-2": 1.2, "slot-1": 2.0}
    rows = []
    for number, (family, label, fold) in enumerate(
        (family, label, fold) for family in ENGINES for label in HORIZONS for fold in FOLDS
    ):
        in_slot = ENGINES[family] in {"torch", "keras"}
        worker = "slot-1" if in_slot else f"core-{1 + number % 2}"
        wall = float(random.uniform(0.2, 2.5))
        stored = number < 5
        start = None if stored else clock[worker] + 0.05
        clock[worker] = clock[worker] if start is None else start + wall
        failed = (family, label, fold) == ("lstm", "3m", "2018")
        rows.append(
            {
                "key": f"{number:064x}",
                "label": f"{family} return_{label} {fold} s42",
                "family": family,
                "target": f"return_{label}",
                "fold": fold,
                "lane": "slot" if in_slot else "cores",
                "engine": ENGINES[family],
                "worker": worker,
                "start_s": start,
                "end_s": None if start is None else start + wall,
                "wall_s": wall,
                "cpu_s": wall * 0.97,
                "peak_memory_bytes": int(random.uniform(1e8, 9e8)),
                "threads": 1,
                "device": "cpu",
                "status": "cached" if stored else "failed" if failed else "ok",
            }
        )
    return rows


def _summary(series: tuple[str, ...], num_dates: int) -> dict[str, Any]:
    return {
        "run_id": "20181231-180500-a1b2",
        "status": "ok",
        "started_at": "2018-12-31T18:05:00+00:00",
        "fits": {"total": 45, "ok": 39, "cached": 5, "failed": 1, "timeout": 0, "oom": 0, "skipped": 0, "stopped": 0},
        "wall_s": 31.2,
        "cpu_s": 52.4,
        "utilisation": 0.86,
        "lower_bound_s": 26.2,
        "data": {
            "hash": "sha256:" + "5e" * 32,
            "rows": len(series) * num_dates,
            "series": list(series),
            "first_date": "2017-01-02",
            "last_date": "2018-12-31 00:00:00",
            "source": "demo",
        },
        "machine": {"name": "m4pro-24gb", "pcores": 10, "ecores": 4, "memory_gb": 24, "slot": "mps"},
        "versions": {"raytrain": "0.1.0", "ray": "2.60.0", "lightgbm": "4.7.0"},
        "heat": "61 C (macmon)",
        "warnings": ["no sensor was read for 40 s"],
    }


@pytest.fixture(scope="session")
def view() -> RunView:
    return make_view()


@pytest.fixture(scope="session")
def remake() -> Callable[..., RunView]:
    """Build a run of other series or length."""
    return make_view


@pytest.fixture(scope="session")
def plain_view(view: RunView) -> RunView:
    """Without the tables that are drawn, for tests of words: plots take most of the time."""
    return replace(view, predictions=pl.DataFrame(), forecast=pl.DataFrame(), fits=pl.DataFrame())


@pytest.fixture
def empty_view(view: RunView) -> RunView:
    """A run of which nothing came."""
    nothing = pl.DataFrame()
    fits = dict.fromkeys(view.summary["fits"], 0)
    return replace(
        view,
        summary={**view.summary, "fits": fits, "utilisation": None, "lower_bound_s": None, "warnings": []},
        scores=nothing,
        fold_scores=nothing,
        decisions=[],
        predictions=nothing,
        forecast=nothing,
        fits=nothing,
        failures=[],
    )
