"""Thresholds: shipped, laid over each other, refused."""

import math
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raytrain.config import read_yaml
from raytrain.evaluation.gates.config import GatesConfig

FOLDER = Path(__file__).parents[3] / "configs" / "gates"
TABLE = {"1w": (0.03, 1.2), "1m": (0.04, 1.0), "3m": (0.06, 0.8), "6m": (0.08, 0.6), "12m": (0.12, 0.5)}
DEFAULT = GatesConfig()


def test_the_shipped_gates_are_the_typed_default() -> None:
    shipped = read_yaml(FOLDER / "default.yaml")["gates"]
    assert GatesConfig.model_validate(shipped) == DEFAULT
    assert shipped == DEFAULT.model_dump()
    assert {label: tuple(line.values()) for label, line in shipped["thresholds"].items()} == TABLE


def test_strict_gates_are_nowhere_laxer() -> None:
    strict = GatesConfig.model_validate(read_yaml(FOLDER / "strict.yaml")["gates"])
    assert strict.luck < DEFAULT.luck and strict.min_fold_wins > DEFAULT.min_fold_wins
    for name in ("max_mape_drift", "coverage_tolerance", "max_window_loss", "max_window_drawdown"):
        assert getattr(strict, name) < getattr(DEFAULT, name)


def test_commodities_have_crises_of_their_own() -> None:
    windows = GatesConfig.model_validate(read_yaml(FOLDER / "commodities.yaml")["gates"]).windows
    assert windows["2015 yuan"] is None
    assert windows["2012 drought"] is not None and windows["2012 drought"].first == date(2012, 6, 15)
    assert windows["2008 Lehman"] == DEFAULT.windows["2008 Lehman"]


def test_changing_one_line_keeps_the_others() -> None:
    config = GatesConfig.model_validate(
        {"thresholds": {"1w": {"mape_max": 0.02}, "12m": None}, "windows": {"2014 oil": None}}
    )
    line = config.thresholds["1w"]
    assert line is not None and line.model_dump() == {"mape_max": 0.02, "sharpe_min": 1.2}
    assert config.thresholds["1m"] == DEFAULT.thresholds["1m"]
    assert config.thresholds["12m"] is None and config.windows["2014 oil"] is None
    assert config.windows["2020 Covid"] == DEFAULT.windows["2020 Covid"]
    assert GatesConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(("rows", "skill"), [(1, 0.08), (5, 0.08), (10, 0.0866667), (20, 0.10), (63, 0.10)])
def test_the_line_of_the_leak_alarm_runs_through_its_points(rows: int, skill: float) -> None:
    assert DEFAULT.leak_skill(rows) == pytest.approx(skill)


def test_the_confidence_leaves_as_much_luck_on_either_side() -> None:
    assert DEFAULT.luck == 0.05


@pytest.mark.parametrize(
    "values",
    [
        {"thresholds": {"1w": {"mape_max": math.nan}}},
        {"thresholds": {"1w": {"mape_max": -0.01}}},
        {"thresholds": {"2w": {"mape_max": 0.01}}},
        {"thresholds": {"1w": {"sharp_min": 1.0}}},
        {"thresholds": "1w"},
        {"confidence": 1.0},
        {"min_fold_wins": 1.1},
        {"max_mape_drift": math.inf},
        {"windows": {"2020 Covid": {"last": "2019-01-01"}}},
        {"windows": {"mine": {"first": "2019-01-01"}}},
        {"leak": {"skill": {}}},
        {"leak": {"skill": {0: 0.1}}},
        {"leak": {"direction": 70}},
        {"min_deflated_sharpe": 1.5},
        {"max_device_difference": -1},
    ],
)
def test_senseless_thresholds_are_refused(values: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GatesConfig.model_validate(values)
