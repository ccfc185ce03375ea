"""Columns that know the future, and columns that come too early or too late."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.data.diagnostics import DiagnosticsConfig, Finding, Level
from raytrain.data.diagnostics.columns import level_of
from raytrain.features.association import associate, ranks

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A target beside the rows."""

    name: str
    y: NDArray[np.float64]
    """(rows,) NaN while unknown."""
    horizon: int
    """Rows ahead; so many rows in a row share most of their outcome."""
    signed: bool
    """Whether y has two sides, as a return has and a 0/1 label has not."""


def leakage(
    columns: Mapping[str, Floats], outcomes: Sequence[Outcome], inputs: Collection[str], config: DiagnosticsConfig
) -> list[Finding]:
    """Columns that determine a target, or its size, or nearly so; the worst target of each column.

    Args:
        columns: name -> (rows,) values.
        outcomes: targets on the same rows.
        inputs: the columns that a model sees; the others can be warned of only.
        config: leak_warning, leak_error.
    """
    if not columns or not outcomes:
        return []
    sized = [outcome for outcome in outcomes if outcome.signed]
    labels = [f"`{one.name}`" for one in outcomes] + [f"the size of `{one.name}`" for one in sized]
    ys = np.column_stack([one.y for one in outcomes] + [np.abs(one.y) for one in sized])
    overlap = np.array([one.horizon for one in (*outcomes, *sized)], dtype=np.float64)
    found = associate(ranks(np.column_stack(list(columns.values()))), ranks(ys), overlap)
    findings = []
    for row, name in enumerate(columns):
        worst = int(found.sure[row].argmax())
        sure = found.sure[row, worst]
        if sure > config.leak_warning:
            level = _leak_level(sure, name in inputs, config)
            findings.append(_leak(name, labels[worst], float(found.value[row, worst]), level, config))
    return findings


def _leak(name: str, target: str, value: float, level: Level, config: DiagnosticsConfig) -> Finding:
    return Finding(
        check="leakage",
        level=level,
        column=name,
        value=round(value, 4),
        threshold=config.leak_error if level == "error" else config.leak_warning,
        message=f"goes with {target} at rank correlation {value:+.2f}, more than prices allow: look whether it is made "
        "of the future; leave it out of features.steps, or shift it to the row on which it was known",
    )


@dataclass(frozen=True, kw_only=True)
class Later:
    """A return after each row."""

    what: str
    """How a message calls it."""
    returns: NDArray[np.float64]
    """(rows,) NaN while unknown."""
    span: int
    """Rows it spans: so many rows in a row share most of it."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The price's returns around each row, and each column's value and last change there."""

    same: NDArray[np.float64]
    """(rows,) the return of the row itself, since the row before."""
    later: Sequence[Later]
    """The return of the next row first."""
    value: Mapping[str, Floats]
    change: Mapping[str, Floats]


def lead_lag(steps: Steps, inputs: Collection[str], config: DiagnosticsConfig) -> list[Finding]:
    """Columns that go with a later step of the price rather than with the same one.

    A column whose value or change determines a later return is made of the future. One that goes with the next step
    more closely than with its own is stamped too early: a stale or mis-dated close, a market that closes later, a
    figure published afterwards.
    """
    names = list(steps.value)
    if not names:
        return []
    ys = ranks(np.column_stack([steps.same, *(later.returns for later in steps.later)]))
    overlap = np.array([1, *(later.span for later in steps.later)], dtype=np.float64)
    forms = [
        associate(ranks(np.column_stack([form[name] for name in names])), ys, overlap)
        for form in (steps.value, steps.change)
    ]
    findings = []
    for row, name in enumerate(names):
        knows = max(forms, key=lambda form: form.sure[row, 1:].max())
        worst = 1 + int(knows.sure[row, 1:].argmax())
        early = max(forms, key=lambda form: form.sure[row, 1])
        same, following = float(early.value[row, 0]), float(early.value[row, 1])
        if knows.sure[row, worst] > config.leak_warning and knows.sure[row, worst] > abs(knows.value[row, 0]):
            level = _leak_level(knows.sure[row, worst], name in inputs, config)
            what = steps.later[worst - 1].what
            findings.append(_from_the_future(name, what, float(knows.value[row, worst]), level, config))
        elif early.sure[row, 1] > config.lead_lag and abs(following) > config.lead_lag_ratio * abs(same):
            findings.append(_early(name, same, following, level_of(name, inputs), config))
    return findings


def _leak_level(sure: float, is_input: bool, config: DiagnosticsConfig) -> Level:
    """What no model sees is worth a warning: tomorrow somebody makes a feature of it."""
    return "error" if sure > config.leak_error and is_input else "warning"


def _from_the_future(name: str, what: str, value: float, level: Level, config: DiagnosticsConfig) -> Finding:
    return Finding(
        check="lead_lag",
        level=level,
        column=name,
        value=round(value, 4),
        threshold=config.leak_error if level == "error" else config.leak_warning,
        message=f"goes with {what} at rank correlation {value:+.2f}: it is dated too early, or made of the future; "
        "shift it to the row on which it was known, or leave it out",
    )


def _early(name: str, same: float, following: float, level: Level, config: DiagnosticsConfig) -> Finding:
    return Finding(
        check="lead_lag",
        level=level,
        column=name,
        value=round(following, 4),
        threshold=config.lead_lag,
        message=f"goes with the price's next step at rank correlation {following:+.2f} and with the same step at "
        f"{same:+.2f}: a stale or mis-dated close, or a market that closes later; check when it was known, shift it "
        "by a row if it was not",
    )
