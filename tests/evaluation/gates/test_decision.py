"""What a person reads."""

from raytrain.evaluation.gates.decision import Decision, Rule, Verdict, explain

RULES = (
    Rule(name="mape", passed=True, value=0.02, threshold=0.03, text="MAPE 2 %, at most 3 %"),
    Rule(name="sharpe", passed=False, value=0.3, threshold=1.2, text="Sharpe ratio 0.3, at least 1.2"),
    Rule(name="fold_wins", passed=False, value=0.2, threshold=0.5, text="better in 20 % of the folds"),
    Rule(name="drift", passed=True, value=None, threshold=None, text="no champion yet", applies=False),
    Rule(name="luck", passed=True, value=None, threshold=None, text="no champion yet", applies=False),
)


def decision(verdict: Verdict, reason: str, rules: tuple[Rule, ...] = RULES, family: str = "tree") -> Decision:
    return Decision(
        family=family,
        target="return_1w",
        label="1w",
        horizon=5,
        verdict=verdict,
        rules=rules,
        reason=reason,
        first_date="2015-01-02",
        last_date="2018-12-31",
    )


def test_what_is_held_says_what_failed_what_passed_and_what_was_not_judged() -> None:
    held = decision("HOLD", "sharpe fails: Sharpe ratio 0.3, at least 1.2; 1 other rule fails")
    assert explain(held) == held.explanation
    assert held.explanation == (
        "tree for return_1w (1w, 5 rows ahead) is held on forecasts of 2015-01-02 to 2018-12-31: sharpe fails: "
        "Sharpe ratio 0.3, at least 1.2; 1 other rule fails. It also fails fold_wins (better in 20 % of the folds). "
        "It passes mape. Not judged: drift, luck (no champion yet)."
    )


def test_what_is_rejected_lists_every_rule_that_fails() -> None:
    text = explain(decision("REJECT", "no better than naive"))
    assert "is rejected" in text
    assert "It fails sharpe (Sharpe ratio 0.3, at least 1.2); fold_wins (better in 20 % of the folds)." in text


def test_what_is_promoted_names_what_it_passed() -> None:
    text = explain(decision("PROMOTE", "all 1 rules pass", RULES[:1]))
    said = "deserves promotion on forecasts of 2015-01-02 to 2018-12-31: all 1 rules pass. It passes mape."
    assert text.endswith(said)


def test_the_yardstick_is_told_as_such() -> None:
    assert explain(decision("HOLD", "the yardstick", family="naive")).endswith("it never asks for promotion.")


def test_the_rules_that_fail_keep_their_order() -> None:
    assert [rule.name for rule in decision("HOLD", "").failed] == ["sharpe", "fold_wins"]
