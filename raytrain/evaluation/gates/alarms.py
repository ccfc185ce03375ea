"""Rules that ask whether the numbers can be believed at all."""

from collections.abc import Mapping
from typing import Any

from raytrain.evaluation.gates.config import GatesConfig
from raytrain.evaluation.gates.decision import Rule
from raytrain.evaluation.gates.evidence import Evidence
from raytrain.evaluation.gates.parity import CPU
from raytrain.evaluation.gates.ruling import at_most, missing, not_applicable, number, percent, plain

Row = Mapping[str, Any]

MIN_CALLS = 30
"""Of fewer directions a high share is luck."""


def complete(missing_fits: int) -> Rule:
    """A part of the folds is never enough: it may be the lucky part."""
    text = f"{missing_fits} of the fits to compare have no result, must be 0"
    return at_most("complete", float(missing_fits), 0.0, text if missing_fits else "every fit to compare has a result")


def unseen(found: Evidence) -> Rule:
    """No outcome may be judged that the fit behind its forecast may have learned from."""
    text = f"{found.num_seen} judged outcomes were known at the cut-off of the fit that forecast them, must be 0"
    return at_most("unseen", float(found.num_seen), 0.0, text)


def leak_alarms(row: Row, found: Evidence, config: GatesConfig) -> list[Rule]:
    """What is too good to be true."""
    if row["kind"] == "threshold":
        return [_leak_auc(row, config), leak_warnings(found, config)]
    return [_leak_skill(row, found, config), _leak_direction(row, found, config), leak_warnings(found, config)]


def _leak_skill(row: Row, found: Evidence, config: GatesConfig) -> Rule:
    line, over_har = config.leak_skill(row["horizon"]), config.leak.skill_over_har
    most, why = line, f"which honest forecasts of prices do not reach {row['horizon']} rows ahead"
    if found.har_skill is not None and found.har_skill + over_har > line:
        most, why = found.har_skill + over_har, f"which is HAR's {percent(found.har_skill)} and {percent(over_har)}"
    if number(row["skill"]) is None:
        return not_applicable("leak_skill", "the skill is not known, so it is not too good")
    text = f"skill {percent(row['skill'])}, at most {percent(most)}, {why}; more looks like a leak"
    return at_most("leak_skill", row["skill"], most, text)


def _leak_direction(row: Row, found: Evidence, config: GatesConfig) -> Rule:
    value, calls = number(row["directional_accuracy"]), row["n_calls"] or 0
    if value is None or calls < MIN_CALLS:
        return not_applicable("leak_direction", f"{calls} directions were named, too few to be too good")
    most, why = config.leak.direction, "which honest forecasts of prices do not reach"
    if found.commoner_direction is not None and found.commoner_direction + config.leak.direction_margin > most:
        most = found.commoner_direction + config.leak.direction_margin
        why = f"which is {percent(config.leak.direction_margin)} more than naming the commoner direction gets"
    text = f"direction right in {percent(value)}, at most {percent(most)}, {why}; more looks like a leak"
    return at_most("leak_direction", value, most, text)


def _leak_auc(row: Row, config: GatesConfig) -> Rule:
    value, most = number(row.get("roc_auc")), config.leak.roc_auc
    if value is None:
        return not_applicable("leak_auc", "the area under the ROC curve is not known, so it is not too good")
    return at_most("leak_auc", value, most, f"ROC AUC {plain(value)}, at most {plain(most)}; more looks like a leak")


def leak_warnings(found: Evidence, config: GatesConfig) -> Rule:
    """What the look at the data said before the run."""
    if not config.leak.warnings:
        return not_applicable("leak_warnings", "leak warnings of the diagnostics are passed over")
    num = len(found.leak_warnings)
    more = f" and {num - 1} more" if num > 1 else ""
    text = (
        f"the diagnostics warn of a leak: {found.leak_warnings[0]}{more}" if num else "the diagnostics warn of no leak"
    )
    return at_most("leak_warnings", float(num), 0.0, text)


def parity(found: Evidence, config: GatesConfig) -> Rule:
    """What an accelerator computed must be what the CPU computes."""
    if found.parity is None:
        why = "an accelerator computed this, and none of it was scored again on the CPU"
        return missing("parity", why, config.max_device_difference)
    if found.parity.device == CPU:
        return not_applicable("parity", "computed on CPU")
    most = config.max_device_difference
    text = (
        f"{found.parity.num_rows} forecasts of {found.parity.device} scored again on the CPU differ by "
        f"{percent(found.parity.difference)} of their deviation, at most {percent(most)}"
    )
    return at_most("parity", found.parity.difference, most, text)


def coverage(row: Row, found: Evidence, config: GatesConfig) -> Rule:
    """The outer quantiles must hold as many outcomes as they say, as far as that can be known."""
    value, nominal = number(row["coverage"]), number(row["coverage_nominal"])
    if config.coverage_tolerance is None or nominal is None:
        why = "it forecasts no spread" if nominal is None else "the coverage is not judged"
        return not_applicable("coverage", why)
    if value is None or found.coverage_interval is None or number(found.coverage_interval[0]) is None:
        return missing("coverage", "too few dates to know the coverage of the quantiles")
    low, high = found.coverage_interval
    error = max(0.0, high - value if value < nominal else value - low)
    most = config.coverage_tolerance + error
    text = (
        f"{percent(value)} of the outcomes lie between the outer quantiles, nominally {percent(nominal)}; at most "
        f"{percent(config.coverage_tolerance)} apart beyond the error of {percent(error)}"
    )
    return at_most("coverage", round(abs(value - nominal), 12), round(most, 12), text)
