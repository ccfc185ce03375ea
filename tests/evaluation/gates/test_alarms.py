"""What is too good to be true, and what is only unusual."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from raytrain.evaluation.gates import alarms
from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.evidence import Evidence
from raytrain.evaluation.gates.parity import Parity

DEFAULT = GatesConfig()
MakeRow = Callable[..., dict[str, Any]]
MakeEvidence = Callable[..., Evidence]


def test_where_har_has_much_skill_more_is_allowed(good_row: MakeRow, good_evidence: MakeEvidence) -> None:
    """Of an equity index HAR had a skill of 7 % at 5 rows: the line stands 5 % above it, not at 8 %."""
    for skill, passed in ((0.12, True), (0.1201, False)):
        rule = alarms.leak_alarms(good_row(skill=skill), good_evidence(har_skill=0.07), DEFAULT)[0]
        assert (rule.name, rule.passed, rule.threshold) == ("leak_skill", passed, pytest.approx(0.12))
        assert "HAR's 7 %" in rule.text
    calm = alarms.leak_alarms(good_row(skill=0.0801), good_evidence(har_skill=-0.5), DEFAULT)[0]
    assert (calm.passed, calm.threshold) == (False, 0.08)


def test_naming_the_direction_of_a_rising_market_is_no_leak(good_row: MakeRow, good_evidence: MakeEvidence) -> None:
    rising = good_evidence(commoner_direction=0.76)
    for share, passed in ((0.80, True), (0.82, False)):
        rule = alarms.leak_alarms(good_row(directional_accuracy=share), rising, DEFAULT)[1]
        assert (rule.name, rule.passed, rule.threshold) == ("leak_direction", passed, pytest.approx(0.81))


@pytest.mark.parametrize("row", [{"n_calls": 29}, {"n_calls": None}, {"directional_accuracy": None}])
def test_few_directions_are_no_alarm(row: dict[str, Any], good_row: MakeRow, good_evidence: MakeEvidence) -> None:
    rule = alarms.leak_alarms(good_row(**({"directional_accuracy": 1.0} | row)), good_evidence(), DEFAULT)[1]
    assert rule.passed and not rule.applies


def test_an_unknown_skill_or_area_is_no_alarm(good_row: MakeRow, good_evidence: MakeEvidence) -> None:
    assert not alarms.leak_alarms(good_row(skill=math.nan), good_evidence(), DEFAULT)[0].applies
    assert not alarms.leak_alarms(good_row(kind="threshold"), good_evidence(), DEFAULT)[0].applies


def test_the_first_warning_is_told_and_the_others_counted(good_evidence: MakeEvidence) -> None:
    rule = alarms.leak_warnings(good_evidence(leak_warnings=("leakage a: it knows", "lead_lag b: early")), DEFAULT)
    assert (rule.passed, rule.value) == (False, 2.0)
    assert rule.text == "the diagnostics warn of a leak: leakage a: it knows and 1 more"


def test_the_error_of_the_coverage_counts_on_the_side_of_its_nominal_value(
    good_row: MakeRow, good_evidence: MakeEvidence
) -> None:
    """0.70 with an interval of 0.60 to 0.74: only the 0.04 above speak for 0.8."""
    low = alarms.coverage(good_row(coverage=0.70), good_evidence(coverage_interval=(0.60, 0.74)), DEFAULT)
    assert (low.passed, low.value, low.threshold) == (False, pytest.approx(0.1), pytest.approx(0.09))
    high = alarms.coverage(good_row(coverage=0.90), good_evidence(coverage_interval=(0.82, 0.91)), DEFAULT)
    assert (high.passed, high.threshold) == (True, pytest.approx(0.13))
    point = alarms.coverage(good_row(coverage=None, coverage_nominal=None), good_evidence(), DEFAULT)
    assert not point.applies


def test_a_device_that_computes_nothing_finite_fails_without_a_number(good_evidence: MakeEvidence) -> None:
    rule = alarms.parity(good_evidence(parity=Parity(device="mps", num_rows=5, difference=math.inf)), DEFAULT)
    assert (rule.passed, rule.value) == (False, None)
    assert rule.text.startswith("5 forecasts of mps scored again on the CPU differ by not known")
