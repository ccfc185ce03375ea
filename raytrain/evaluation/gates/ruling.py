"""How a rule is made of a value and a threshold, and how numbers are told in it."""

from collections.abc import Callable
from math import isfinite

from raytrain.evaluation.gates.decision import Rule


def at_most(name: str, value: float | None, most: float | None, text: str) -> Rule:
    """Passes when the value is known and not above the threshold."""
    return _rule(name, value, most, text, lambda known, bound: known <= bound)


def at_least(name: str, value: float | None, least: float | None, text: str) -> Rule:
    """Passes when the value is known and not below the threshold."""
    return _rule(name, value, least, text, lambda known, bound: known >= bound)


def above(name: str, value: float | None, bound: float | None, text: str) -> Rule:
    """Passes when the value is known and above the threshold, not at it."""
    return _rule(name, value, bound, text, lambda known, least: known > least)


def below(name: str, value: float | None, bound: float | None, text: str) -> Rule:
    """Passes when the value is known and below the threshold, not at it."""
    return _rule(name, value, bound, text, lambda known, most: known < most)


def not_applicable(name: str, why: str) -> Rule:
    """There is nothing to judge."""
    return Rule(name=name, passed=True, value=None, threshold=None, text=why, applies=False)


def missing(name: str, why: str, threshold: float | None = None) -> Rule:
    """What should be known is not."""
    return Rule(name=name, passed=False, value=None, threshold=threshold, text=why)


def number(value: float | None) -> float | None:
    """None for NaN and infinity, so that there is one way of not being known."""
    return None if value is None or not isfinite(value) else float(value)


def percent(share: float | None) -> str:
    """`2.13 %`."""
    known = number(share)
    return "not known" if known is None else f"{100 * known:.3g} %"


def plain(value: float | None) -> str:
    """Three digits."""
    known = number(value)
    return "not known" if known is None else f"{known:.3g}"


def _rule(
    name: str, value: float | None, threshold: float | None, text: str, passes: Callable[[float, float], bool]
) -> Rule:
    known, bound = number(value), number(threshold)
    passed = known is not None and bound is not None and passes(known, bound)
    return Rule(name=name, passed=passed, value=known, threshold=bound, text=text)
