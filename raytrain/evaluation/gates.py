"""Whether a recipe deserves production, with every rule, value, threshold and date range.

Three kinds of rules. Alarms (`raytrain.evaluation.alarms`) ask whether the numbers can be believed: every fit there, no
outcome seen, no leak, no wrong device. Absolute rules (MAPE, Sharpe) are the user's, and measure the market's calm as
much as the model. Relative rules (beside naive, the random walk, HAR, in crises, beside the champion) say whether the
model is worth anything; those that ask for more than luck count how many recipes were tried.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import polars as pl

from raytrain.evaluation import alarms, rules
from raytrain.evaluation.comparison import iso_day
from raytrain.evaluation.decision import Decision, Rule, Verdict
from raytrain.evaluation.evidence import CHAMPION, HAR, Evidence, Place
from raytrain.evaluation.gates_config import GatesConfig
from raytrain.evaluation.pairs import NAIVE
from raytrain.evaluation.ruling import number, percent

__all__ = ["GatesConfig", "decide", "decide_all"]

Row = Mapping[str, Any]


def decide_all(
    scores: pl.DataFrame,
    evidence: Mapping[Place, Evidence],
    config: GatesConfig,
    missing_fits: Mapping[Place, int] = MappingProxyType({}),
) -> tuple[Decision, ...]:
    """Decide on every row of `raytrain.evaluation.scores.score`, in its order.

    Args:
        scores: with the interval of skill computed at `config.confidence`.
        evidence: of every row, from `raytrain.evaluation.evidence.gather` with the same config.
        config: thresholds.
        missing_fits: (target, family) -> planned fits without a result; a champion that is not among the run's recipes
            is called `CHAMPION` there.
    """
    decisions = []
    for row in scores.iter_rows(named=True):
        target, family = row["target"], row["family"]
        compared = {family, NAIVE, HAR, CHAMPION}
        num_missing = sum(missing_fits.get((target, one), 0) for one in compared)
        decisions.append(decide(row, evidence[target, family], config, missing_fits=num_missing))
    return tuple(decisions)


def decide(row: Row, found: Evidence, config: GatesConfig, *, missing_fits: int = 0) -> Decision:
    """PROMOTE when every rule passes; REJECT when there is no skill, or none can be computed; HOLD otherwise.

    A value that is exactly at its threshold passes, except where the rule says that it must lie above or below. A value
    that is missing or NaN never passes. Naive itself is held: it is the yardstick.

    Args:
        row: one row of `raytrain.evaluation.scores.score`, by column name, with `skill_low` at `config.confidence`.
        found: what else is known of the recipe.
        config: thresholds.
        missing_fits: planned fits of the family, or of those that it is compared with, that have no result.
    """
    first, last = iso_day(row["first_date"]), iso_day(row["last_date"])
    applied = tuple(
        rule if rule.first_date or not rule.applies else replace(rule, first_date=first, last_date=last)
        for rule in _rules(row, found, config, missing_fits)
    )
    verdict, reason = _verdict(row, applied)
    return Decision(
        family=row["family"],
        target=row["target"],
        label=row["label"],
        horizon=row["horizon"],
        verdict=verdict,
        rules=applied,
        reason=reason,
        first_date=first,
        last_date=last,
    )


def _rules(row: Row, found: Evidence, config: GatesConfig, missing_fits: int) -> Iterable[Rule]:
    """Those that doubt the numbers come first: what fails first is the reason."""
    of_price = row["kind"] != "threshold"
    yield alarms.complete(missing_fits)
    yield alarms.unseen(found)
    yield from alarms.leak_alarms(row, found, config)
    yield alarms.parity(found, config)
    if of_price:
        # MAPE and Sharpe are measures of a price and its returns: a probability has neither.
        yield from rules.absolute(row, found, config)
    yield from rules.beside_naive(row, found, config)
    if of_price:
        yield rules.random_walk(row, config)
        yield rules.better_than_har(found, config)
        yield alarms.coverage(row, found, config)
    yield from rules.through_crises(found, config)
    yield from rules.beside_champion(row, found, config)


def _verdict(row: Row, applied: tuple[Rule, ...]) -> tuple[Verdict, str]:
    skill = number(row["skill"])
    failing = [rule for rule in applied if not rule.passed]
    if row["family"] == NAIVE:
        return "HOLD", "the yardstick: other families are measured against it"
    if skill is None or skill <= 0:
        others = _others(sum(rule.name not in ("better_than_naive", "diebold_mariano") for rule in failing))
        if skill is None:
            return "REJECT", f"the skill over naive cannot be computed on {row['n']} rows{others}"
        return "REJECT", f"no better than naive: skill {percent(skill)}, must be above 0 %{others}"
    if failing:
        return "HOLD", f"{failing[0].name} fails: {failing[0].text}{_others(len(failing) - 1)}"
    num_applied = sum(rule.applies for rule in applied)
    return "PROMOTE", f"all {num_applied} rules pass; skill over naive {percent(skill)}"


def _others(num_failing: int) -> str:
    if num_failing == 0:
        return ""
    return f"; {num_failing} {'other rule fails' if num_failing == 1 else 'other rules fail'}"
