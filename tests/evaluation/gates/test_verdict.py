"""The gate table, on both sides of every edge, and what follows from it."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from raytrain.evaluation.gates.comparison import Comparison
from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.decision import Decision, Rule
from raytrain.evaluation.gates.deflated import Deflated
from raytrain.evaluation.gates.diebold_mariano import DieboldMariano
from raytrain.evaluation.gates.evidence import CHAMPION, Evidence, Missing, NotApplicable
from raytrain.evaluation.gates.parity import Parity
from raytrain.evaluation.gates.verdict import decide, decide_all

TABLE = {"1w": (0.03, 1.2), "1m": (0.04, 1.0), "3m": (0.06, 0.8), "6m": (0.08, 0.6), "12m": (0.12, 0.5)}
DEFAULT = GatesConfig()
NOTHING = NotApplicable("no champion yet")

MakeRow = Callable[..., dict[str, Any]]
MakeEvidence = Callable[..., Evidence]
MakeComparison = Callable[..., Comparison]
Judge = Callable[..., Decision]


@pytest.fixture
def judge(good_row: MakeRow, good_evidence: MakeEvidence) -> Judge:
    """Decide on the good candidate with changes to its scores, its evidence or the thresholds."""

    def run(*, found: dict[str, Any] | None = None, config: GatesConfig = DEFAULT, **row: Any) -> Decision:
        return decide(good_row(**row), good_evidence(**(found or {})), config)

    return run


def rule(decision: Decision, name: str) -> Rule:
    return next(rule for rule in decision.rules if rule.name == name)


def names(decision: Decision) -> list[str]:
    return [rule.name for rule in decision.rules]


def up(value: float) -> float:
    return math.nextafter(value, math.inf)


def down(value: float) -> float:
    return math.nextafter(value, -math.inf)


def test_a_candidate_that_passes_everything_is_promoted(judge: Judge) -> None:
    decision = judge()
    assert decision.verdict == "PROMOTE"
    assert names(decision) == [
        "complete",
        "unseen",
        "leak_skill",
        "leak_direction",
        "leak_warnings",
        "parity",
        "mape",
        "sharpe",
        "deflated_sharpe",
        "better_than_naive",
        "diebold_mariano",
        "fold_wins",
        "random_walk",
        "better_than_har",
        "coverage",
        "loss in 2015 yuan",
        "drawdown in 2015 yuan",
        "better_than_champion",
        "luck_beside_champion",
        "drift",
    ]
    assert decision.reason == "all 20 rules pass; skill over naive 3 %"
    assert not decision.failed


EDGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("leak_skill", {"skill": 0.08}, {"skill": up(0.08)}),
    ("leak_skill", {"skill": 0.10, "horizon": 20}, {"skill": up(0.10), "horizon": 20}),
    ("leak_skill", {"skill": 0.09, "horizon": 12.5}, {"skill": 0.0901, "horizon": 12.5}),
    ("leak_direction", {"directional_accuracy": 0.70}, {"directional_accuracy": up(0.70)}),
    *(
        (
            "mape",
            {"label": label, "mape": most, "naive_mape": 1.0},
            {"label": label, "mape": up(most), "naive_mape": 1.0},
        )
        for label, (most, _) in TABLE.items()
    ),
    *(
        ("sharpe", {"label": label, "sharpe": least}, {"label": label, "sharpe": down(least)})
        for label, (_, least) in TABLE.items()
    ),
    ("better_than_naive", {"skill_low": math.ulp(0.0)}, {"skill_low": 0.0}),
    ("fold_wins", {"fold_wins": 0.5}, {"fold_wins": down(0.5)}),
    ("random_walk", {"mape": 0.0101, "naive_mape": 0.01}, {"mape": up(0.0101), "naive_mape": 0.01}),
    (
        "random_walk",
        {"kind": "price", "mape": down(0.02), "naive_mape": 0.02},
        {"kind": "price", "mape": 0.02, "naive_mape": 0.02},
    ),
    ("coverage", {"coverage": 0.72}, {"coverage": 0.7199}),
    ("coverage", {"coverage": 0.88}, {"coverage": 0.8801}),
]


@pytest.mark.parametrize(("name", "inside", "outside"), EDGES)
def test_scores_pass_up_to_their_threshold(
    name: str, inside: dict[str, Any], outside: dict[str, Any], judge: Judge
) -> None:
    error = {"coverage_interval": (inside["coverage"] - 0.03, inside["coverage"] + 0.03)} if name == "coverage" else {}
    beyond = {"coverage_interval": (outside["coverage"] - 0.03, outside["coverage"] + 0.03)} if error else {}
    at, past = judge(found=error, **inside), judge(found=beyond, **outside)
    assert (at.verdict, [one.name for one in at.failed]) == ("PROMOTE", [])
    assert (past.verdict, [one.name for one in past.failed]) == ("HOLD", [name])
    assert past.reason.startswith(f"{name} fails: ")


def crisis_with(found: Evidence, **changes: float) -> dict[str, Any]:
    return {"crises": (replace(found.crises[0], **changes),)}


def test_evidence_passes_up_to_its_threshold(
    judge: Judge, good_evidence: MakeEvidence, good_comparison: MakeComparison
) -> None:
    good = good_evidence()

    def deflated(probability: float) -> dict[str, Any]:
        return {"deflated": Deflated(probability=probability, luckiest=0.0, num_recipes=3)}

    def lucky(p_value: float, num_recipes: int) -> dict[str, Any]:
        test = DieboldMariano(statistic=2.0, p_value=p_value, num_dates=500)
        return {"naive": test, "num_recipes": num_recipes}

    def beside_champion(**changes: Any) -> dict[str, Any]:
        return {"champion": good_comparison(**changes)}

    def tested(p_value: float) -> dict[str, Any]:
        return {"test": DieboldMariano(statistic=2.0, p_value=p_value, num_dates=500)}

    edges: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("unseen", {"num_seen": 0}, {"num_seen": 1}),
        ("leak_warnings", {"leak_warnings": ()}, {"leak_warnings": ("leakage hint: it knows",)}),
        (
            "parity",
            {"parity": Parity(device="mps", difference=0.01)},
            {"parity": Parity(device="mps", difference=up(0.01))},
        ),
        ("parity", {"parity": Parity(device="cpu")}, {"parity": None}),
        ("deflated_sharpe", deflated(0.95), deflated(down(0.95))),
        ("diebold_mariano", lucky(0.0499999, 1), lucky(0.0500001, 1)),
        ("diebold_mariano", lucky(0.00025, 200), lucky(0.00026, 200)),
        ("better_than_har", {"har": good_comparison(skill=math.ulp(0.0))}, {"har": good_comparison(skill=0.0)}),
        ("loss in 2015 yuan", crisis_with(good, excess_loss=0.10), crisis_with(good, excess_loss=up(0.10))),
        (
            "drawdown in 2015 yuan",
            crisis_with(good, drawdown=0.1 + 0.05, drawdown_long=0.1),
            crisis_with(good, drawdown=up(0.1 + 0.05), drawdown_long=0.1),
        ),
        ("better_than_champion", beside_champion(low=math.ulp(0.0)), beside_champion(low=0.0)),
        ("luck_beside_champion", beside_champion(**tested(0.016)), beside_champion(**tested(0.018))),
        (
            "drift",
            beside_champion(mape=0.024, other_mape=0.02),
            beside_champion(mape=up(0.024), other_mape=0.02),
        ),
    ]
    for name, inside, outside in edges:
        at, past = judge(found=inside), judge(found=outside)
        assert (name, at.verdict, at.failed) == (name, "PROMOTE", ())
        assert (past.verdict, [one.name for one in past.failed]) == ("HOLD", [name])
        assert past.reason.startswith(f"{name} fails: ")


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["mape", "sharpe", "fold_wins", "skill_low", "naive_mape", "coverage"])
def test_what_is_not_known_never_passes(field: str, unknown: float | None, judge: Judge) -> None:
    assert judge(**{field: unknown}).verdict == "HOLD"


def test_evidence_that_is_missing_never_passes(judge: Judge, good_comparison: MakeComparison) -> None:
    cases: dict[str, dict[str, Any]] = {
        "diebold_mariano": {"naive": None},
        "deflated_sharpe": {"deflated": None},
        "better_than_har": {"har": Missing("no row in common with har")},
        "coverage": {"coverage_interval": (math.nan, math.nan)},
        "drift": {"champion": good_comparison(mape=None)},
        "luck_beside_champion": {
            "champion": good_comparison(test=DieboldMariano(statistic=math.nan, p_value=math.nan, num_dates=4))
        },
    }
    for name, found in cases.items():
        decision = judge(found=found)
        assert (decision.verdict, [one.name for one in decision.failed]) == ("HOLD", [name])


def test_a_champion_that_was_not_fitted_on_these_cut_offs_holds_every_challenger(judge: Judge) -> None:
    decision = judge(found={"champion": Missing("the champion, net as it was promoted, has no forecast")})
    assert decision.verdict == "HOLD"
    assert decision.reason.startswith("better_than_champion fails: the champion, net as it was promoted")


@pytest.mark.parametrize("why", ["no champion yet", "it is the champion itself"])
def test_without_another_champion_nothing_is_compared(why: str, judge: Judge) -> None:
    decision = judge(found={"champion": NotApplicable(why)})
    assert decision.verdict == "PROMOTE"
    assert {one.name for one in decision.rules if not one.applies and one.text == why} == {
        "better_than_champion",
        "luck_beside_champion",
        "drift",
    }
    assert decision.reason.startswith("all 17 rules pass")


@pytest.mark.parametrize("skill", [0.0, -0.01, None, math.nan])
def test_no_skill_is_rejected(skill: float | None, judge: Judge) -> None:
    assert judge(skill=skill).verdict == "REJECT"


def test_naive_is_never_promoted(judge: Judge) -> None:
    decision = judge(family="naive")
    assert decision.verdict == "HOLD"
    assert "the yardstick" in decision.reason


def test_a_horizon_without_a_line_is_judged_by_the_relative_rules(judge: Judge) -> None:
    decision = judge(label="2w", mape=0.5, naive_mape=0.5, sharpe=-3.0, found={"deflated": None})
    assert decision.verdict == "PROMOTE"
    assert not {"mape", "sharpe", "deflated_sharpe"} & set(names(decision))


def test_a_threshold_target_has_no_price_to_be_judged_by(judge: Judge) -> None:
    nothing = dict.fromkeys(("mape", "naive_mape", "sharpe", "coverage", "coverage_nominal", "directional_accuracy"))
    decision = judge(kind="threshold", roc_auc=0.7, found={"champion": NOTHING, "crises": ()}, **nothing)
    assert decision.verdict == "PROMOTE"
    assert names(decision) == [
        "complete",
        "unseen",
        "leak_auc",
        "leak_warnings",
        "parity",
        "better_than_naive",
        "diebold_mariano",
        "fold_wins",
        "windows",
        "better_than_champion",
        "luck_beside_champion",
    ]
    at, past = (judge(kind="threshold", roc_auc=auc, **nothing).verdict for auc in (0.9, up(0.9)))
    assert (at, past) == ("PROMOTE", "HOLD")


def test_the_reason_names_the_first_failing_rule_and_counts_the_others(judge: Judge) -> None:
    assert judge(mape=0.052, naive_mape=0.052, sharpe=0.3, fold_wins=0.25).reason == (
        "mape fails: MAPE of the price 5.2 %, at most 3 % for 1w; the random walk's is 5.2 %; 2 other rules fail"
    )
    assert judge(sharpe=0.3).reason == ("sharpe fails: Sharpe ratio 0.3, at least 1.2 for 1w; always long has 0.5")
    rejected = judge(skill_low=-0.03, skill=-0.01, sharpe=0.3)
    assert rejected.reason == "no better than naive: skill -1 %, must be above 0 %; 1 other rule fails"


def test_a_doubt_about_the_numbers_is_the_reason_before_any_other(judge: Judge) -> None:
    decision = judge(mape=1.0, skill=0.4, found={"leak_warnings": ("leakage hint: knows",)})
    assert decision.verdict == "HOLD"
    assert decision.reason.startswith("leak_skill fails: skill 40 %, at most 8 %")


def test_every_rule_that_applies_says_of_what_dates_it_is(judge: Judge) -> None:
    decision = judge()
    assert (decision.first_date, decision.last_date) == ("2015-01-02", "2018-12-31")
    spans = {one.name: (one.first_date, one.last_date) for one in decision.rules if one.applies}
    assert spans["mape"] == ("2015-01-02", "2018-12-31")
    assert spans["loss in 2015 yuan"] == ("2015-08-10", "2015-10-30")
    assert spans["drift"] == ("2016-01-04", "2018-12-28")


def test_a_hopeless_row_is_rejected_with_its_number_of_rows(good_row: MakeRow) -> None:
    row = good_row(n=0, coverage_nominal=None, n_calls=None)
    nothing = {name: None for name in row if row[name] is not None and name not in KEPT}
    decision = decide(row | nothing | {"family": "f", "target": "t"}, Evidence(), DEFAULT)
    assert decision.verdict == "REJECT"
    assert decision.reason.startswith("the skill over naive cannot be computed on 0 rows")
    assert (decision.first_date, decision.last_date) == ("", "")


def test_rules_can_be_turned_off(judge: Judge) -> None:
    off = GatesConfig.model_validate(
        {
            "min_deflated_sharpe": None,
            "min_skill_over_har": None,
            "coverage_tolerance": None,
            "leak": {"warnings": False},
        }
    )
    found = {"deflated": None, "har": Missing("gone"), "leak_warnings": ("leakage",), "coverage_interval": None}
    assert judge(found=found, coverage=0.1, config=off).verdict == "PROMOTE"


KEPT = ("kind", "label", "horizon", "n", "judged_by")
"""What a row says where nothing could be measured."""

TRADER = {
    "judged_by": "net_return",
    "net_return": 0.12,
    "net_return_low": 0.03,
    "skill": -0.5,
    "skill_low": -0.9,
    "mape": 9.0,
    "coverage": 0.1,
}
"""Scores of a family whose positions earn, and whose median is worth nothing."""


@pytest.fixture
def earning(good_comparison: MakeComparison) -> Callable[..., Comparison]:
    """Surely earning more than the champion, with changes."""

    def make(**changes: Any) -> Comparison:
        return good_comparison(
            **{"other": "xgboost", "judged_by": "net_return", "mape": None, "other_mape": None} | changes
        )

    return make


def test_positions_that_earn_are_promoted_whatever_the_median_says(
    judge: Judge, earning: Callable[..., Comparison]
) -> None:
    decision = judge(**TRADER, found={"champion": earning(), "har": NotApplicable("it forecasts no spread")})
    assert (decision.verdict, decision.failed) == ("PROMOTE", ())
    assert decision.reason == "all 16 rules pass; net return 12 % a year"
    assert {one.name for one in decision.rules if not one.applies} == {
        "mape",
        "random_walk",
        "better_than_har",
        "coverage",
        "drift",
    }
    assert "Not judged: mape, random_walk, better_than_har, coverage (its positions are judged, by what they earn)" in (
        decision.explanation
    )
    told = {one.name: one.text for one in decision.rules}
    assert told["sharpe_over_long"] == "Sharpe ratio 1.5 above that of always long, must be above 0"
    assert told["better_than_naive"] == "net return at least 3 % a year at 90 % confidence, must be above 0 %"
    assert told["diebold_mariano"].startswith("Diebold-Mariano against holding nothing: 5 on 500 dates; ")
    assert told["fold_wins"] == "a net return above 0 in 100 % of the folds, at least 50 %"
    assert told["loss in 2015 yuan"] == "2015 yuan: 0 % of the capital earned net of costs, at most 10 % may be lost"
    assert told["better_than_champion"] == (
        "net return beyond that of the champion, xgboost: 2 % a year (1 % a year to 3 % a year at 90 % confidence; "
        "Diebold-Mariano 5), the lower end must be above 0 %"
    )


def test_positions_pass_up_to_their_thresholds(
    judge: Judge, good_evidence: MakeEvidence, earning: Callable[..., Comparison]
) -> None:
    good = good_evidence()

    def tested(p_value: float) -> DieboldMariano:
        return DieboldMariano(statistic=2.0, p_value=p_value, num_dates=500)

    def lost(share: float) -> dict[str, Any]:
        return {"found": crisis_with(good, excess_loss=share)}

    def beside(**changes: Any) -> dict[str, Any]:
        return {"found": {"champion": earning(**changes)}}

    edges: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("better_than_naive", {"net_return_low": math.ulp(0.0)}, {"net_return_low": 0.0}),
        ("diebold_mariano", {"found": {"naive": tested(0.016)}}, {"found": {"naive": tested(0.018)}}),
        ("fold_wins", {"fold_wins": 0.5}, {"fold_wins": down(0.5)}),
        ("sharpe", {"sharpe": 1.2}, {"sharpe": down(1.2)}),
        ("sharpe_over_long", {"sharpe_long": 2.0 - 1e-8}, {"sharpe_long": 2.0 - 1e-10}),
        ("loss in 2015 yuan", lost(0.10), lost(up(0.10))),
        ("better_than_champion", beside(low=math.ulp(0.0)), beside(low=0.0)),
        ("luck_beside_champion", beside(test=tested(0.016)), beside(test=tested(0.018))),
        ("leak_direction", {"directional_accuracy": 0.70}, {"directional_accuracy": up(0.70)}),
        ("leak_skill", {"skill": 0.08}, {"skill": up(0.08)}),
    ]
    for name, inside, outside in edges:
        at, past = (
            judge(**TRADER | one | {"found": {"champion": earning()} | one.get("found", {})})
            for one in (inside, outside)
        )
        assert (name, at.verdict, at.failed) == (name, "PROMOTE", ())
        assert (past.verdict, [one.name for one in past.failed]) == ("HOLD", [name])


@pytest.mark.parametrize(
    ("net_return", "reason"),
    [
        (0.0, "no better than holding nothing: net return 0 % a year, must be above 0 %"),
        (-0.02, "no better than holding nothing: net return -2 % a year, must be above 0 %"),
        (None, "the net return cannot be computed on 500 rows"),
        (math.nan, "the net return cannot be computed on 500 rows"),
    ],
)
def test_positions_that_earn_nothing_are_rejected_whatever_the_median_says(
    net_return: float | None, reason: str, judge: Judge
) -> None:
    decision = judge(**TRADER | {"net_return": net_return, "net_return_low": None, "skill": 0.03, "skill_low": 0.01})
    assert (decision.verdict, decision.reason) == ("REJECT", reason)
    assert judge(**TRADER | {"net_return": math.ulp(0.0)}).verdict == "PROMOTE"


def test_positions_must_beat_always_long_and_luck_at_every_horizon(judge: Judge) -> None:
    """In a rising market whoever is long earns more than naive."""
    lucky = {"deflated": Deflated(probability=0.5, luckiest=0.1, num_recipes=3), "champion": NOTHING}
    decision = judge(**TRADER | {"label": "2w", "sharpe_long": 2.0}, found=lucky)
    assert decision.verdict == "HOLD"
    assert [one.name for one in decision.failed] == ["sharpe_over_long", "deflated_sharpe"]
    asked = judge(**TRADER | {"sharpe_long": 1.5}, config=GatesConfig(min_sharpe_over_long=0.6))
    assert rule(asked, "sharpe_over_long").threshold == 0.6 and not rule(asked, "sharpe_over_long").passed


def test_changes_of_a_price_are_told_in_its_unit(judge: Judge) -> None:
    """There is no capital of which a crisis could take a share."""
    decision = judge(**TRADER | {"judged_by": "net_change", "net_return": 3.5, "net_return_low": 0.25})
    assert decision.reason == "all 15 rules pass; net return 3.5 a year in the unit of the price"
    assert rule(decision, "better_than_naive").text == (
        "net return at least 0.25 a year in the unit of the price at 90 % confidence, must be above 0"
    )
    assert not rule(decision, "windows").applies
    assert not {"loss in 2015 yuan", "drawdown in 2015 yuan"} & set(names(decision))


def test_a_champion_that_takes_positions_is_beaten_by_earning_more(
    judge: Judge, earning: Callable[..., Comparison]
) -> None:
    """Everything else is asked of a forecast as ever."""
    decision = judge(found={"champion": earning(other="reward_based")})
    assert decision.verdict == "PROMOTE"
    assert [one.name for one in decision.rules if not one.applies] == ["drift"]
    assert rule(decision, "better_than_champion").text.startswith(
        "net return beyond that of the champion, reward_based"
    )
    assert rule(decision, "better_than_naive").text.startswith("skill over naive")


def test_the_sharpe_ratio_may_have_to_beat_always_long(judge: Judge) -> None:
    config = GatesConfig(min_sharpe_over_long=0.0)
    at, past = (judge(sharpe_long=long, config=config) for long in (2.0, up(2.0)))
    assert (at.verdict, past.verdict) == ("PROMOTE", "HOLD")
    assert rule(past, "sharpe_over_long").threshold == 0.0


@pytest.mark.parametrize(
    ("family", "verdict"),
    [("lightgbm", "HOLD"), ("naive", "HOLD"), ("har", "HOLD"), (CHAMPION, "HOLD"), ("xgboost", "PROMOTE")],
)
def test_a_part_of_the_folds_is_never_enough(
    family: str, verdict: str, good_row: MakeRow, good_evidence: MakeEvidence
) -> None:
    scores, evidence = pl.DataFrame([good_row()]), {("return_1w", "lightgbm"): good_evidence()}
    (decision,) = decide_all(scores, evidence, DEFAULT, {("return_1w", family): 2})
    assert decision.verdict == verdict
    assert (decision.reason == "complete fails: 2 of the fits to compare have no result, must be 0") is (
        verdict == "HOLD"
    )
