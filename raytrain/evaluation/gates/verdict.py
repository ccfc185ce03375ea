"""Whether a recipe deserves production, with every rule, value, threshold and date range.

Three kinds of rules. Alarms (`raytrain.evaluation.gates.alarms`) ask whether the numbers can be believed: every fit
there, no outcome seen, no leak, no wrong device. Absolute rules (MAPE, Sharpe) are the user's, and measure the
market's calm as much as the model. Relative rules (beside naive, the random walk, HAR, in crises, beside the champion)
say whether the model is worth anything; those that ask for more than luck count how many recipes were tried. A family
that takes positions is judged by what they earn net of costs, any other one by its losses
(`raytrain.evaluation.gates.lead`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import polars as pl

from raytrain.evaluation.gates import alarms, rules
from raytrain.evaluation.gates.comparison import iso_day
from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.decision import Decision, Rule, Verdict
from raytrain.evaluation.gates.evidence import CHAMPION, HAR, Evidence, Place
from raytrain.evaluation.gates.lead import Lead
from raytrain.evaluation.gates.ruling import not_applicable
from raytrain.evaluation.scoring.pairs import NAIVE

__all__ = ["GatesConfig", "decide", "decide_all"]

Row = Mapping[str, Any]

OF_FORECASTS = frozenset({"mape", "random_walk", "better_than_har", "coverage"})
"""Rules that measure a forecast of the price, which is not what a family with positions is for."""


def decide_all(
    scores: pl.DataFrame,
    evidence: Mapping[Place, Evidence],
    config: GatesConfig,
    missing_fits: Mapping[Place, int] = MappingProxyType({}),
) -> tuple[Decision, ...]:
    """Decide on every row of `raytrain.evaluation.scoring.scores.score`, in its order.

    Args:
        scores: with the interval of skill computed at `config.confidence`.
        evidence: of every row, from `raytrain.evaluation.gates.evidence.gather` with the same config.
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
    """PROMOTE when every rule passes; REJECT when there is no lead over naive, or none is known; HOLD otherwise.

    A value that is exactly at its threshold passes, except where the rule says that it must lie above or below. A value
    that is missing or NaN never passes. Naive itself is held: it is the yardstick.

    Args:
        row: one row of `raytrain.evaluation.scoring.scores.score`, by column name, with its intervals at
            `config.confidence`.
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
    """All of them, of which those of forecasts do not apply where positions are judged."""
    for rule in _by_doubt(row, found, config, missing_fits):
        if row["judged_by"] != "skill" and rule.name in OF_FORECASTS:
            yield not_applicable(rule.name, "its positions are judged, by what they earn")
        else:
            yield rule


def _by_doubt(row: Row, found: Evidence, config: GatesConfig, missing_fits: int) -> Iterable[Rule]:
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
    yield from rules.through_crises(row, found, config)
    yield from rules.beside_champion(row, found, config)


def _verdict(row: Row, applied: tuple[Rule, ...]) -> tuple[Verdict, str]:
    lead = Lead.of(row)
    measure, value = lead.measure, lead.value
    failing = [rule for rule in applied if not rule.passed]
    if row["family"] == NAIVE:
        return "HOLD", "the yardstick: other families are measured against it"
    if value is None or value <= 0:
        others = _others(sum(rule.name not in ("better_than_naive", "diebold_mariano") for rule in failing))
        if value is None:
            return "REJECT", f"the {measure.over_naive} cannot be computed on {row['n']} rows{others}"
        told = f"{measure.name} {measure.tell(value)}, must be above {measure.nothing}"
        return "REJECT", f"no better than {measure.naive}: {told}{others}"
    if failing:
        return "HOLD", f"{failing[0].name} fails: {failing[0].text}{_others(len(failing) - 1)}"
    num_applied = sum(rule.applies for rule in applied)
    return "PROMOTE", f"all {num_applied} rules pass; {measure.over_naive} {measure.tell(value)}"


def _others(num_failing: int) -> str:
    if num_failing == 0:
        return ""
    return f"; {num_failing} {'other rule fails' if num_failing == 1 else 'other rules fail'}"
