"""What a gate says: a verdict with every rule, value and threshold."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]


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
