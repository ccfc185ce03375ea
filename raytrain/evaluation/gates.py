"""Whether a recipe deserves production, with every rule, value and threshold.

The absolute rules (MAPE, Sharpe) are the user's, and measure the market's calm as much as the model. The relative rules
(better than naive, in most folds, no worse than the champion) say whether the model is worth anything.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Annotated, Any

import polars as pl
from pydantic import Field, FiniteFloat, field_validator

from raytrain.config import Section, merge
from raytrain.evaluation.decision import Decision, Rule, Verdict
from raytrain.evaluation.pairs import NAIVE

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class GateLine(Section):
    """The absolute thresholds of one horizon."""

    mape_max: Annotated[FiniteFloat, Field(gt=0)]
    """MAPE of the price level at most, as a fraction: 0.03 is 3 %."""
    sharpe_min: FiniteFloat
    """Annualised Sharpe ratio at least."""


class GatesConfig(Section):
    """What a recipe must reach to be promoted."""

    thresholds: dict[str, GateLine | None] = {
        "1w": GateLine(mape_max=0.03, sharpe_min=1.2),
        "1m": GateLine(mape_max=0.04, sharpe_min=1.0),
        "3m": GateLine(mape_max=0.06, sharpe_min=0.8),
        "6m": GateLine(mape_max=0.08, sharpe_min=0.6),
        "12m": GateLine(mape_max=0.12, sharpe_min=0.5),
    }
    """Absolute thresholds by the horizon's label. What is given is laid over these lines, so that changing one does not
    drop the others; `null` drops a line. A horizon without a line is judged by the relative rules alone."""
    max_mape_drift: Annotated[FiniteFloat, Field(ge=0)] = 0.20
    """How much worse than the champion's the MAPE may be, as a fraction of the champion's."""
    confidence: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.9
    """Two-sided confidence of the interval of skill, whose lower end must lie above 0."""
    min_fold_wins: Share = 0.5
    """Share of folds, 0 to 1, in which the loss must be below naive's."""

    @field_validator("thresholds", mode="before")
    @classmethod
    def _over_the_table(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        table = {label: line.model_dump() for label, line in cls.model_fields["thresholds"].default.items()}
        lines = {label: line.model_dump() if isinstance(line, GateLine) else line for label, line in given.items()}
        return merge(table, lines)


def decide_all(
    scores: pl.DataFrame,
    champion_mape: Mapping[str, float],
    config: GatesConfig,
    missing_fits: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> tuple[Decision, ...]:
    """Decide on every row of `raytrain.evaluation.scores.score`, in its order.

    Args:
        scores: with the interval of skill computed at `config.confidence`.
        champion_mape: MAPE of the production recipe by target, on the same cut-offs; a target without one has no
            champion yet.
        config: thresholds.
        missing_fits: (target, family) -> planned fits without a result.
    """
    return tuple(
        decide(
            row,
            (row["skill_low"], row["skill_high"]),
            champion_mape.get(row["target"]),
            config,
            missing_fits=sum(missing_fits.get((row["target"], family), 0) for family in {row["family"], NAIVE}),
        )
        for row in scores.iter_rows(named=True)
    )


def decide(
    scores_row: Mapping[str, Any],
    interval: tuple[float | None, float | None],
    champion_mape: float | None,
    config: GatesConfig,
    *,
    missing_fits: int = 0,
) -> Decision:
    """PROMOTE when every rule passes; REJECT when there is no skill, or none can be computed; HOLD otherwise.

    A value that is exactly at its threshold passes, except that skill and its interval must lie above 0. A value that
    is missing or NaN never passes. Naive itself is held: it is the yardstick.

    Args:
        scores_row: one row of `raytrain.evaluation.scores.score`, by column name.
        interval: (low, high) of its skill at `config.confidence`.
        champion_mape: MAPE of the production recipe on the same cut-offs; None when there is no champion yet.
        config: thresholds.
        missing_fits: planned fits of the family, or of naive beside it, that have no result. A part of the folds is
            never enough to be promoted: it may be the lucky part.
    """
    rules = (*_complete(missing_fits), *_rules(scores_row, interval[0], champion_mape, config))
    verdict, reason = _verdict(scores_row, rules)
    return Decision(
        family=scores_row["family"],
        target=scores_row["target"],
        label=scores_row["label"],
        horizon=scores_row["horizon"],
        verdict=verdict,
        rules=rules,
        reason=reason,
        first_date=_iso(scores_row["first_date"]),
        last_date=_iso(scores_row["last_date"]),
    )


def _complete(missing_fits: int) -> tuple[Rule, ...]:
    if not missing_fits:
        return ()
    text = f"{missing_fits} of the fits to compare have no result, must be 0"
    return (Rule(name="complete", passed=False, value=float(missing_fits), threshold=0.0, text=text),)


def _rules(
    row: Mapping[str, Any], skill_low: float | None, champion_mape: float | None, config: GatesConfig
) -> tuple[Rule, ...]:
    relative = (_better_than_naive(skill_low, config), _fold_wins(row["fold_wins"], config))
    if row["kind"] == "threshold":
        # MAPE and Sharpe are measures of a price and its returns: a probability has neither.
        return relative
    line = config.thresholds.get(row["label"])
    absolute = (_mape(row, line), _sharpe(row, line)) if line else ()
    return (*absolute, *relative, _drift(row["mape"], champion_mape, config))


def _mape(row: Mapping[str, Any], line: GateLine) -> Rule:
    return _at_most("mape", "MAPE of the price", row["mape"], line.mape_max, f"for {row['label']}")


def _sharpe(row: Mapping[str, Any], line: GateLine) -> Rule:
    value, least = _number(row["sharpe"]), line.sharpe_min
    text = f"Sharpe ratio {_plain(value)}, at least {_plain(least)} for {row['label']}"
    return _rule("sharpe", value, least, lambda known: known >= least, text)


def _better_than_naive(skill_low: float | None, config: GatesConfig) -> Rule:
    value = _number(skill_low)
    text = f"skill over naive at least {_percent(value)} at {_percent(config.confidence)} confidence, must be above 0 %"
    return _rule("better_than_naive", value, 0.0, lambda known: known > 0, text)


def _fold_wins(wins: float | None, config: GatesConfig) -> Rule:
    value, least = _number(wins), config.min_fold_wins
    text = f"better than naive in {_percent(value)} of the folds, at least {_percent(least)}"
    return _rule("fold_wins", value, least, lambda known: known >= least, text)


def _drift(mape: float | None, champion_mape: float | None, config: GatesConfig) -> Rule:
    if champion_mape is None:
        return Rule(name="drift", passed=True, value=_number(mape), threshold=None, text="no champion yet")
    most = champion_mape * (1 + config.max_mape_drift)
    why = f"which is the champion's {_percent(champion_mape)} and {_percent(config.max_mape_drift)} of it"
    return _at_most("drift", "MAPE of the price", mape, most, why)


def _at_most(name: str, measure: str, value: float | None, most: float, why: str) -> Rule:
    known = _number(value)
    text = f"{measure} {_percent(known)}, at most {_percent(most)} {why}"
    return _rule(name, known, most, lambda number: number <= most, text)


def _rule(name: str, value: float | None, threshold: float, passes: Callable[[float], bool], text: str) -> Rule:
    return Rule(
        name=name, passed=value is not None and passes(value), value=value, threshold=_number(threshold), text=text
    )


def _verdict(row: Mapping[str, Any], rules: tuple[Rule, ...]) -> tuple[Verdict, str]:
    skill = _number(row["skill"])
    failing = [rule for rule in rules if not rule.passed]
    beside_skill = sum(rule.name != "better_than_naive" for rule in failing)
    if row["family"] == NAIVE:
        return "HOLD", "the yardstick: other families are measured against it"
    if skill is None:
        return "REJECT", f"the skill over naive cannot be computed on {row['n']} rows" + _others(beside_skill)
    if skill <= 0:
        return "REJECT", f"no better than naive: skill {_percent(skill)}, must be above 0 %" + _others(beside_skill)
    if failing:
        return "HOLD", f"{failing[0].name} fails: {failing[0].text}" + _others(len(failing) - 1)
    return "PROMOTE", f"all {len(rules)} rules pass; skill over naive {_percent(skill)}"


def _others(num_failing: int) -> str:
    if num_failing == 0:
        return ""
    return f"; {num_failing} {'other rule fails' if num_failing == 1 else 'other rules fail'}"


def _number(value: float | None) -> float | None:
    """None for NaN and infinity, so that there is one way of not being known."""
    return None if value is None or not isfinite(value) else float(value)


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.3g} %"


def _plain(number: float | None) -> str:
    return "not known" if number is None else f"{number:.3g}"


def _iso(date: Any) -> str:
    """Empty when no row could be judged."""
    return "" if date is None else str(date.isoformat())
