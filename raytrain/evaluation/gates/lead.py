"""How far a recipe is ahead of naive in what it is judged by, and how that is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from raytrain.evaluation.gates.ruling import number, percent, plain
from raytrain.evaluation.scoring.pairs import JudgedBy

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a recipe is judged by."""

    column: str
    """Of the scores; the interval is in `<column>_low` and `<column>_high`."""
    name: str
    over_naive: str
    over: str
    """Beside somebody whose name follows."""
    naive: str
    """What naive does in these terms."""
    won: str
    """What a fold that is won shows."""
    nothing: str
    """0 with its unit."""
    tell: Callable[[float | None], str]
    """The number with its unit."""


def _share_a_year(value: float | None) -> str:
    return percent(value) if number(value) is None else f"{percent(value)} a year"


def _change_a_year(value: float | None) -> str:
    return plain(value) if number(value) is None else f"{plain(value)} a year in the unit of the price"


_EARNS = {
    "column": "net_return",
    "name": "net return",
    "over_naive": "net return",
    "over": "net return beyond that of",
    "naive": "holding nothing",
    "won": "a net return above 0",
}

MEASURES: Mapping[JudgedBy, Measure] = {
    "skill": Measure(
        column="skill",
        name="skill",
        over_naive="skill over naive",
        over="skill over",
        naive="naive",
        won="better than naive",
        nothing="0 %",
        tell=percent,
    ),
    "net_return": Measure(**_EARNS, nothing="0 %", tell=_share_a_year),
    "net_change": Measure(**_EARNS, nothing="0", tell=_change_a_year),
}


@dataclass(frozen=True, kw_only=True)
class Lead:
    """One recipe's."""

    measure: Measure
    value: float | None
    """Above 0 when it is better than naive; None when it cannot be computed."""
    low: float | None
    """Lower end of the interval."""

    @classmethod
    def of(cls, row: Row) -> "Lead":
        """Read it from a row of `raytrain.evaluation.scoring.scores.score`."""
        measure = MEASURES[row["judged_by"]]
        return cls(measure=measure, value=number(row[measure.column]), low=number(row[f"{measure.column}_low"]))
