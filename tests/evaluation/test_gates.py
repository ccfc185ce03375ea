import math
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from raytrain.config import read_yaml
from raytrain.evaluation.decision import Decision, Rule
from raytrain.evaluation.gates import GatesConfig, decide, decide_all
from raytrain.evaluation.scores import score

TABLE = {"1w": (0.03, 1.2), "1m": (0.04, 1.0), "3m": (0.06, 0.8), "6m": (0.08, 0.6), "12m": (0.12, 0.5)}
DEFAULT = GatesConfig()
GOOD_INTERVAL = (0.01, 0.05)

DEFAULT_YAML = Path(__file__).parents[2] / "configs" / "gates" / "default.yaml"


def scores_row(**changes: Any) -> dict[str, Any]:
    """A candidate that passes every rule by far."""
    row = {
        "family": "lightgbm",
        "target": "return_1w",
        "kind": "return",
        "label": "1w",
        "horizon": 5,
        "n": 500,
        "mape": 0.01,
        "sharpe": 2.0,
        "skill": 0.03,
        "fold_wins": 1.0,
        "first_date": date(2015, 1, 2),
        "last_date": date(2018, 12, 31),
    }
    return row | changes


def judge(
    interval: tuple[float | None, float | None] = GOOD_INTERVAL, champion: float | None = None, **changes: Any
) -> Decision:
    return decide(scores_row(**changes), interval, champion, DEFAULT)


def rule(decision: Decision, name: str) -> Rule:
    return next(rule for rule in decision.rules if rule.name == name)


def test_a_candidate_that_passes_everything_is_promoted() -> None:
    decision = judge()
    assert decision.verdict == "PROMOTE"
    assert [rule.name for rule in decision.rules] == ["mape", "sharpe", "better_than_naive", "fold_wins", "drift"]
    assert (decision.first_date, decision.last_date) == ("2015-01-02", "2018-12-31")
    assert decision.reason == "all 5 rules pass; skill over naive 3 %"


@pytest.mark.parametrize(("label", "mape_max"), [(label, line[0]) for label, line in TABLE.items()])
def test_mape_passes_up_to_its_threshold(label: str, mape_max: float) -> None:
    at, above = (judge(label=label, mape=mape) for mape in (mape_max, math.nextafter(mape_max, 1)))
    assert (at.verdict, above.verdict) == ("PROMOTE", "HOLD")
    assert rule(above, "mape").threshold == mape_max


@pytest.mark.parametrize(("label", "sharpe_min"), [(label, line[1]) for label, line in TABLE.items()])
def test_sharpe_passes_from_its_threshold(label: str, sharpe_min: float) -> None:
    at, below = (judge(label=label, mape=0.0, sharpe=value) for value in (sharpe_min, math.nextafter(sharpe_min, 0)))
    assert (at.verdict, below.verdict) == ("PROMOTE", "HOLD")
    assert rule(below, "sharpe").threshold == sharpe_min


def test_the_lower_end_of_skill_must_be_above_zero() -> None:
    assert judge(interval=(math.ulp(0.0), 0.1)).verdict == "PROMOTE"
    assert judge(interval=(0.0, 0.1)).verdict == "HOLD"


def test_fold_wins_pass_from_their_threshold() -> None:
    assert judge(fold_wins=0.5).verdict == "PROMOTE"
    assert judge(fold_wins=math.nextafter(0.5, 0)).verdict == "HOLD"


def test_mape_may_drift_by_a_fifth_of_the_champions() -> None:
    assert judge(champion=0.02, mape=0.024).verdict == "PROMOTE"
    worse = judge(champion=0.02, mape=math.nextafter(0.024, 1))
    assert worse.verdict == "HOLD"
    assert rule(worse, "drift").threshold == 0.024
    assert worse.reason.startswith("drift fails: MAPE of the price 2.4 %, at most 2.4 %")


def test_without_a_champion_drift_passes_and_says_so() -> None:
    assert (rule(judge(), "drift").passed, rule(judge(), "drift").text) == (True, "no champion yet")


@pytest.mark.parametrize("skill", [0.0, -0.01, None, math.nan])
def test_no_skill_is_rejected(skill: float | None) -> None:
    assert judge(skill=skill).verdict == "REJECT"


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["mape", "sharpe", "fold_wins"])
def test_what_is_not_known_never_passes(field: str, unknown: float | None) -> None:
    decision = judge(**{field: unknown})
    assert decision.verdict == "HOLD"
    assert rule(decision, field).value is None
    assert "not known" in decision.reason


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_an_interval_or_a_champion_that_is_not_known_never_passes(unknown: float | None) -> None:
    assert judge(interval=(unknown, unknown)).verdict == "HOLD"
    beside_no_number = judge(champion=math.nan)
    assert beside_no_number.verdict == "HOLD"
    assert rule(beside_no_number, "drift").threshold is None


def test_naive_is_never_promoted() -> None:
    decision = judge(family="naive")
    assert decision.verdict == "HOLD"
    assert "the yardstick" in decision.reason


def test_a_horizon_without_a_line_is_judged_by_the_relative_rules() -> None:
    decision = judge(label="2w", mape=0.5, sharpe=-3.0)
    assert decision.verdict == "PROMOTE"
    assert [rule.name for rule in decision.rules] == ["better_than_naive", "fold_wins", "drift"]


def test_a_threshold_target_has_no_price_to_be_judged_by() -> None:
    decision = judge(kind="threshold", mape=None, sharpe=None)
    assert decision.verdict == "PROMOTE"
    assert [rule.name for rule in decision.rules] == ["better_than_naive", "fold_wins"]


def test_the_reason_names_the_first_failing_rule_and_counts_the_others() -> None:
    assert judge(mape=0.052, sharpe=0.3, fold_wins=0.25).reason == (
        "mape fails: MAPE of the price 5.2 %, at most 3 % for 1w; 2 other rules fail"
    )
    assert judge(sharpe=0.3).reason == "sharpe fails: Sharpe ratio 0.3, at least 1.2 for 1w"
    rejected = judge(interval=(-0.03, 0.01), skill=-0.01, sharpe=0.3)
    assert rejected.reason == "no better than naive: skill -1 %, must be above 0 %; 1 other rule fails"


def test_a_hopeless_row_is_rejected_with_its_number_of_rows() -> None:
    nothing = {"mape": None, "sharpe": None, "skill": None, "fold_wins": None, "first_date": None, "last_date": None}
    decision = judge(interval=(None, None), n=0, **nothing)
    assert decision.verdict == "REJECT"
    assert decision.reason.startswith("the skill over naive cannot be computed on 0 rows")
    assert (decision.first_date, decision.last_date) == ("", "")


def test_the_shipped_gates_are_the_typed_default() -> None:
    shipped = read_yaml(DEFAULT_YAML)["gates"]
    assert GatesConfig.model_validate(shipped) == DEFAULT
    assert shipped == DEFAULT.model_dump()
    assert {label: tuple(line.values()) for label, line in shipped["thresholds"].items()} == TABLE


def test_changing_one_line_keeps_the_others() -> None:
    config = GatesConfig.model_validate({"thresholds": {"1w": {"mape_max": 0.02}, "12m": None}})
    assert config.thresholds["1w"].model_dump() == {"mape_max": 0.02, "sharpe_min": 1.2}  # type: ignore[union-attr]
    assert config.thresholds["1m"] == DEFAULT.thresholds["1m"]
    assert rule_names(config, "12m") == ["better_than_naive", "fold_wins", "drift"]
    assert GatesConfig.model_validate(config.model_dump()) == config


def rule_names(config: GatesConfig, label: str) -> list[str]:
    return [rule.name for rule in decide(scores_row(label=label), GOOD_INTERVAL, None, config).rules]


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
    ],
)
def test_senseless_thresholds_are_refused(values: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GatesConfig.model_validate(values)


def test_a_planted_predictable_series_is_promoted_and_noise_is_not(
    forecast: Callable[..., pl.DataFrame], bars: pl.DataFrame
) -> None:
    """The gates can be passed: forecasts that know half of each return are promoted, those of its opposite rejected."""
    half = pl.col("actual").fill_null(0.0) / 2
    predictions = pl.concat(
        [
            forecast("naive", **{"q0.1": -0.03, "q0.5": 0.0, "q0.9": 0.03}),
            forecast("knows", **{"q0.1": half - 0.02, "q0.5": half, "q0.9": half + 0.02}),
            forecast("wrong", **{"q0.1": -half - 0.02, "q0.5": -half, "q0.9": -half + 0.02}),
        ]
    )
    scores = score(predictions, bars, 252, confidence=DEFAULT.confidence)
    verdicts = {decision.family: decision.verdict for decision in decide_all(scores, {}, DEFAULT)}
    assert verdicts == {"knows": "PROMOTE", "naive": "HOLD", "wrong": "REJECT"}
    beside_a_better_champion = {d.family: d for d in decide_all(scores, {"return_1w": 1e-4}, DEFAULT)}
    assert beside_a_better_champion["knows"].reason.startswith("drift fails")


def test_a_part_of_the_folds_is_never_enough() -> None:
    complete = decide(scores_row(), GOOD_INTERVAL, None, DEFAULT)
    partial = decide(scores_row(), GOOD_INTERVAL, None, DEFAULT, missing_fits=2)
    assert (complete.verdict, partial.verdict) == ("PROMOTE", "HOLD")
    assert partial.reason == "complete fails: 2 of the fits to compare have no result, must be 0"


@pytest.mark.parametrize(("missing", "verdict"), [("lightgbm", "HOLD"), ("naive", "HOLD"), ("xgboost", "PROMOTE")])
def test_what_is_missing_beside_the_family_counts_too(missing: str, verdict: str) -> None:
    scores = pl.DataFrame([scores_row(skill_low=0.01, skill_high=0.05)])
    (decision,) = decide_all(scores, {}, DEFAULT, {("return_1w", missing): 1})
    assert decision.verdict == verdict
