"""What a tracker is told of a run: by the names that people query."""

from typing import Any

import polars as pl
import pytest

from raytrain.evaluation.gates.decision import Decision, Rule
from raytrain.evaluation.scoring.breakdown import SCHEMA
from raytrain.tracking.of_run import record_of

SUMMARY: dict[str, Any] = {
    "run_id": "r1",
    "status": "ok",
    "started_at": "2021-03-01T18:05:00+00:00",
    "wall_s": 10.0,
    "cpu_s": 8.0,
    "utilisation": None,
    "lower_bound_s": 4.0,
    "fits": {"total": 3, "ok": 3},
    "data": {"hash": "abc", "source": "demo"},
    "versions": {"raytrain": "0.1.0"},
}


@pytest.fixture
def scores() -> pl.DataFrame:
    row = {"family": "har", "target": "return_1w", "horizon": 5, "mape": 0.02, "sharpe": None, "crps": 0.01}
    return pl.DataFrame([row], schema_overrides={"sharpe": pl.Float64})


@pytest.fixture
def decision() -> Decision:
    rule = Rule(name="mape", passed=True, value=0.02, threshold=0.03, text="fine")
    return Decision(
        family="har",
        target="return_1w",
        label="1w",
        horizon=5,
        verdict="HOLD",
        rules=(rule,),
        reason="none",
        first_date="2020-01-01",
        last_date="2020-12-31",
    )


def groups(*rows: tuple[str, str, float | None, float | None]) -> pl.DataFrame:
    told = [
        {"family": "har", "target": "return_1w", "by": by, "group": group, "mape": mape, "sharpe": sharpe}
        for by, group, mape, sharpe in rows
    ]
    return pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in told], schema=SCHEMA)


def test_regimes_and_seasons_are_told_by_name(scores: pl.DataFrame, decision: Decision) -> None:
    found = groups(("regime", "calm", 0.01, 1.5), ("season", "Q3", 0.03, None), ("series", "ZL", 0.02, 0.1))
    (child,) = record_of(SUMMARY, scores, [decision], {"har": {}}, [], breakdown=found).children
    assert child.metrics == {
        "val_mape": 0.02,
        "crps": 0.01,
        "mape_calm": 0.01,
        "sharpe_calm": 1.5,
        "mape_Q3": 0.03,
        "meets_mape_threshold": 1.0,
    }
    assert child.tags["decision"] == "HOLD" and child.tags["horizon"] == "5"


def test_without_a_breakdown_the_scores_are_told(scores: pl.DataFrame, decision: Decision) -> None:
    record = record_of(SUMMARY, scores, [decision], {"har": {"lags": 3}}, [])
    (child,) = record.children
    assert set(child.metrics) == {"val_mape", "crps", "meets_mape_threshold"}
    assert child.params == {"lags": "3"}
    assert record.metrics == {"wall_s": 10.0, "cpu_s": 8.0, "lower_bound_s": 4.0, "fits_total": 3.0, "fits_ok": 3.0}
    assert record.ended_at - record.started_at == 10_000
