"""What a gate says: a verdict with every rule, value, threshold and date range."""

from dataclasses import dataclass
from typing import Literal

from raytrain.evaluation.scoring.pairs import NAIVE

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]

_VERBS = {"PROMOTE": "deserves promotion", "HOLD": "is held", "REJECT": "is rejected"}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule applied to one candidate."""

    name: str
    """Short and stable: `mape`, `sharpe`, `better_than_naive`, `drift`, ..."""
    passed: bool
    value: float | None
    """What was measured; None when it could not be, which never passes."""
    threshold: float | None
    text: str
    """The rule, the value and the threshold as a person reads them."""
    applies: bool = True
    """False when there is nothing to judge, such as a champion when there is none yet; then it passes."""
    first_date: str = ""
    """First forecast date that the rule looked at, ISO; empty when it looked at none."""
    last_date: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The verdict on one family for one target."""

    family: str
    target: str
    label: str
    """The horizon as people say it: `1w`."""
    horizon: int
    """Rows ahead."""
    verdict: Verdict
    rules: tuple[Rule, ...]
    reason: str
    """One sentence: what decided."""
    first_date: str
    """First forecast date judged, ISO."""
    last_date: str

    @property
    def failed(self) -> tuple[Rule, ...]:
        """The rules that were not passed, in their order."""
        return tuple(rule for rule in self.rules if not rule.passed)

    @property
    def explanation(self) -> str:
        """The decision as a paragraph."""
        return explain(self)


def explain(decision: Decision) -> str:
    """What was decided and why, as a person would tell it."""
    who = f"{decision.family} for {decision.target} ({decision.label}, {_rows(decision.horizon)} ahead)"
    when = f" on forecasts of {decision.first_date} to {decision.last_date}" if decision.first_date else ""
    if decision.family == NAIVE:
        return f"{who} is the yardstick{when}: the others are measured against it, and it never asks for promotion."
    parts = [f"{who} {_VERBS[decision.verdict]}{when}: {decision.reason}."]
    if rest := [rule for rule in decision.failed if not decision.reason.startswith(f"{rule.name} fails")]:
        told = "; ".join(f"{rule.name} ({rule.text})" for rule in rest)
        parts.append(f"It {'also ' if len(rest) < len(decision.failed) else ''}fails {told}.")
    if passed := [rule.name for rule in decision.rules if rule.passed and rule.applies]:
        parts.append(f"It passes {', '.join(passed)}.")
    if idle := _idle(decision):
        parts.append(f"Not judged: {'; '.join(f'{names} ({why})' for why, names in idle.items())}.")
    return " ".join(parts)


def _idle(decision: Decision) -> dict[str, str]:
    """Why rules do not apply -> their names."""
    found: dict[str, list[str]] = {}
    for rule in decision.rules:
        if not rule.applies:
            found.setdefault(rule.text, []).append(rule.name)
    return {why: ", ".join(names) for why, names in found.items()}


def _rows(horizon: int) -> str:
    return f"{horizon} row{'' if horizon == 1 else 's'}"
