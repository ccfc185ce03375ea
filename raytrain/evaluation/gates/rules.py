"""Rules that ask whether a recipe is good enough: by itself, beside naive and HAR, in crises, beside the champion."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from raytrain.evaluation.gates.comparison import Comparison
from raytrain.evaluation.gates.config import GateLine, GatesConfig
from raytrain.evaluation.gates.decision import Rule
from raytrain.evaluation.gates.diebold_mariano import DieboldMariano
from raytrain.evaluation.gates.evidence import Evidence, Missing, NotApplicable
from raytrain.evaluation.gates.lead import MEASURES, Lead
from raytrain.evaluation.gates.ruling import above, at_least, at_most, below, missing, not_applicable, percent, plain
from raytrain.evaluation.gates.windows import Crisis

Row = Mapping[str, Any]


def absolute(row: Row, found: Evidence, config: GatesConfig) -> list[Rule]:
    """The user's own thresholds, which measure the market's calm as much as the model.

    Positions that are judged must beat always long, which costs nobody a model, and luck at every horizon: in a rising
    market anything that is long earns more than naive.
    """
    line, by_positions = config.thresholds.get(row["label"]), row["judged_by"] != "skill"
    if line is None and not by_positions:
        return []
    rules = [] if line is None else [_mape(row, line), _sharpe(row, line)]
    if by_positions or config.min_sharpe_over_long is not None:
        rules.append(_sharpe_over_long(row, config.min_sharpe_over_long))
    if config.min_deflated_sharpe is not None:
        rules.append(_deflated_sharpe(found, config.min_deflated_sharpe))
    return rules


def _mape(row: Row, line: GateLine) -> Rule:
    text = (
        f"MAPE of the price {percent(row['mape'])}, at most {percent(line.mape_max)} for {row['label']}; the random "
        f"walk's is {percent(row['naive_mape'])}"
    )
    return at_most("mape", row["mape"], line.mape_max, text)


def _sharpe(row: Row, line: GateLine) -> Rule:
    text = (
        f"Sharpe ratio {plain(row['sharpe'])}, at least {plain(line.sharpe_min)} for {row['label']}; always long has "
        f"{plain(row['sharpe_long'])}"
    )
    return at_least("sharpe", row["sharpe"], line.sharpe_min, text)


def _sharpe_over_long(row: Row, least: float | None) -> Rule:
    known = row["sharpe"] is not None and row["sharpe_long"] is not None
    value = row["sharpe"] - row["sharpe_long"] if known else None
    text = f"Sharpe ratio {plain(value)} above that of always long"
    if least is not None:
        return at_least("sharpe_over_long", value, least, f"{text}, at least {plain(least)}")
    # Of a constant position the two are equal but for rounding.
    rounded = None if value is None else round(value, 9)
    return above("sharpe_over_long", rounded, 0.0, f"{text}, must be above 0")


def _deflated_sharpe(found: Evidence, least: float) -> Rule:
    if found.deflated is None:
        return missing("deflated_sharpe", "the strategy earned nothing that varies", least)
    text = (
        f"the Sharpe ratio is above what the best of {_recipes(found)} has by luck with a probability of "
        f"{percent(found.deflated.probability)}, at least {percent(least)}"
    )
    return at_least("deflated_sharpe", found.deflated.probability, least, text)


def beside_naive(row: Row, found: Evidence, config: GatesConfig) -> list[Rule]:
    """Whether the model is worth anything."""
    lead, wins, least = Lead.of(row), row["fold_wins"], config.min_fold_wins
    measure = lead.measure
    better = (
        f"{measure.over_naive} at least {measure.tell(lead.low)} at {percent(config.confidence)} confidence, "
        f"must be above {measure.nothing}"
    )
    folds = f"{measure.won} in {percent(wins)} of the folds, at least {percent(least)}"
    return [
        above("better_than_naive", lead.low, 0.0, better),
        _not_by_luck("diebold_mariano", measure.naive, found.naive, found, config),
        at_least("fold_wins", wins, least, folds),
    ]


def _not_by_luck(name: str, other: str, test: DieboldMariano | None, found: Evidence, config: GatesConfig) -> Rule:
    """The best of many recipes looks better than it is; so the test asks how good the luckiest would look."""
    if test is None:
        return missing(name, f"nothing to compare with {other}", config.luck)
    value = test.best_of(found.num_recipes)
    text = (
        f"Diebold-Mariano against {other}: {plain(test.statistic)} on {test.num_dates} dates; the best of "
        f"{_recipes(found)} that are no better looks so good with a probability of {percent(value)}, at most "
        f"{percent(config.luck)}"
    )
    return at_most(name, value, config.luck, text)


def random_walk(row: Row, config: GatesConfig) -> Rule:
    """The price forecast beside that of no change."""
    naive = row["naive_mape"]
    figures = f"MAPE of the price {percent(row['mape'])}, the random walk's {percent(naive)}"
    if row["kind"] == "price":
        return below("random_walk", row["mape"], naive, f"{figures}; must be below it")
    allowed = config.max_over_random_walk
    most = None if naive is None else naive * (1 + allowed)
    return at_most("random_walk", row["mape"], most, f"{figures}; at most {percent(allowed)} of it more")


def better_than_har(found: Evidence, config: GatesConfig) -> Rule:
    """Whether the features are worth more than the path of prices alone."""
    name, least = "better_than_har", config.min_skill_over_har
    if least is None:
        return not_applicable(name, "HAR is not asked for")
    if isinstance(found.har, NotApplicable):
        return not_applicable(name, found.har.why)
    if isinstance(found.har, Missing):
        return missing(name, found.har.why, least)
    text = f"skill over HAR {_interval(found.har, config)}, must be above {percent(least)}"
    return above(name, found.har.skill, least, text)


def through_crises(row: Row, found: Evidence, config: GatesConfig) -> list[Rule]:
    """Each named window that lies inside the judged dates."""
    if not found.crises:
        return [not_applicable("windows", "no named crisis lies inside the judged dates")]
    if row["judged_by"] == "net_change":
        return [not_applicable("windows", "changes of a price do not compound: there is no capital to lose a share of")]
    return [rule for crisis in found.crises for rule in _through(crisis, row, config)]


def _through(crisis: Crisis, row: Row, config: GatesConfig) -> list[Rule]:
    most, margin = config.max_window_loss, config.max_window_drawdown
    if row["judged_by"] == "skill":
        loss = f"{crisis.name}: loss {_beside(crisis.excess_loss)} naive's, at most {percent(most)} above"
    else:
        loss = f"{crisis.name}: {_earned(crisis.excess_loss)} net of costs, at most {percent(most)} may be lost"
    rules = [at_most(f"loss in {crisis.name}", crisis.excess_loss, most, loss)]
    if crisis.drawdown is not None and crisis.drawdown_long is not None:
        text = (
            f"{crisis.name}: drawdown {percent(crisis.drawdown)}, at most {percent(margin)} of the capital beyond "
            f"always long's {percent(crisis.drawdown_long)}"
        )
        rules.append(at_most(f"drawdown in {crisis.name}", crisis.drawdown, crisis.drawdown_long + margin, text))
    return [replace(rule, first_date=crisis.first_date, last_date=crisis.last_date) for rule in rules]


def _beside(excess: float | None) -> str:
    if excess is None:
        return "not known beside"
    return f"{percent(abs(excess))} {'above' if excess > 0 else 'below'}"


def _earned(lost: float | None) -> str:
    if lost is None:
        return "not known what the capital earned"
    return f"{percent(abs(lost))} of the capital {'lost' if lost > 0 else 'earned'}"


def beside_champion(row: Row, found: Evidence, config: GatesConfig) -> list[Rule]:
    """Whether it should take over: both recipes on the same rows, from the same cut-offs."""
    names = ["better_than_champion", "luck_beside_champion"] + ["drift"] * (row["kind"] != "threshold")
    if isinstance(found.champion, NotApplicable):
        return [not_applicable(name, found.champion.why) for name in names]
    if isinstance(found.champion, Missing):
        return [missing(name, found.champion.why) for name in names]
    champion, who = found.champion, f"the champion, {found.champion.other}"
    measure = MEASURES[champion.judged_by]
    text = f"{measure.over} {who}: {_interval(champion, config)}, the lower end must be above {measure.nothing}"
    rules = [
        above(names[0], champion.low, 0.0, text),
        _not_by_luck(names[1], who, champion.test, found, config),
    ]
    if row["kind"] != "threshold":
        rules.append(_drift(champion, config))
    first, last = champion.first_date, champion.last_date
    return [replace(rule, first_date=first, last_date=last) if rule.applies else rule for rule in rules]


def _drift(champion: Comparison, config: GatesConfig) -> Rule:
    if champion.judged_by != "skill":
        return not_applicable("drift", "what positions earn is compared, not the error of a price")
    allowed, theirs = config.max_mape_drift, champion.other_mape
    most = None if theirs is None else theirs * (1 + allowed)
    text = (
        f"MAPE of the price {percent(champion.mape)}, at most {percent(most)} which is the champion's "
        f"{percent(theirs)} and {percent(allowed)} of it"
    )
    return at_most("drift", champion.mape, most, text)


def _interval(found: Comparison, config: GatesConfig) -> str:
    tell = MEASURES[found.judged_by].tell
    span = f"{tell(found.low)} to {tell(found.high)} at {percent(config.confidence)} confidence"
    return f"{tell(found.skill)} ({span}; Diebold-Mariano {plain(found.test.statistic)})"


def _recipes(found: Evidence) -> str:
    return f"{found.num_recipes} recipe{'' if found.num_recipes == 1 else 's'} tried"
