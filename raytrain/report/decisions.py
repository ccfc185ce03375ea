"""The verdicts as a matrix of families and horizons, each beside its baseline."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.evaluation.gates.decision import Decision, Verdict
from raytrain.report.view import YARDSTICK, RunView
from raytrain.report.words import known, percent, plural, signed_percent

MIN_SCALE, MAX_SCALE = 0.02, 0.25
"""Bounds of the skill axis: less is noise blown up, more lets one diverged network hide all others."""

MAX_NAMED = 6
"""Promoted families that the headline names."""

VERDICTS: tuple[Verdict, ...] = ("PROMOTE", "HOLD", "REJECT")

Score = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A skill and its interval on an axis from 0 to 100 with naive at 50, cut at both ends."""

    low: float
    point: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One family at one target."""

    verdict: Verdict | None
    reason: str
    score: Score
    bar: Bar | None
    """None when skill or its interval is not known."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """What the decisions table shows."""

    columns: list[tuple[str, str, int]]
    """(target, label, horizon), nearest horizon first."""
    rows: list[tuple[str, list[Cell | None]]]
    """Family and a cell per column: the yardstick first, then the most skilful."""
    scale: float
    """The skill at the right end of a bar."""


def candidates(decisions: Sequence[Decision]) -> list[Decision]:
    """Everyone but the yardstick: by horizon, the promoted first."""
    judged = [decision for decision in decisions if decision.family != YARDSTICK]
    return sorted(judged, key=lambda one: (one.horizon, one.target, VERDICTS.index(one.verdict), one.family))


def verdict_counts(decisions: Sequence[Decision]) -> dict[Verdict, int]:
    """How many candidates got each verdict."""
    found = Counter(decision.verdict for decision in candidates(decisions))
    return {verdict: found[verdict] for verdict in VERDICTS}


def headline(view: RunView) -> str:
    """The run in one sentence."""
    judged = candidates(view.decisions)
    if not judged:
        return "There was no candidate to judge."
    passing = [f"{one.family} at {one.label}" for one in judged if one.verdict == "PROMOTE"]
    if passing:
        verb = "deserves" if len(passing) == 1 else "deserve"
        names = ", ".join(passing[:MAX_NAMED]) + (", ..." if len(passing) > MAX_NAMED else "")
        return f"{len(passing)} of {plural(len(judged), 'candidate')} {verb} promotion: {names}."
    return f"None of {plural(len(judged), 'candidate')} deserves promotion{_best_score(view)}."


def _best_score(view: RunView) -> str:
    skilled = [score for score in _scores(view).values() if score["family"] != YARDSTICK and _has_skill(score)]
    if not skilled:
        return ""
    best = max(skilled, key=lambda score: score["skill"])
    interval = ""
    if known(best["skill_low"]) and known(best["skill_high"]):
        interval = f", {signed_percent(best['skill_low'])} to {signed_percent(best['skill_high'])}"
    return f"; the best skill is {signed_percent(best['skill'])} ({best['family']} at {best['label']}{interval})"


def _has_skill(score: Score) -> bool:
    """Whether the skill is known and what the family is judged by, which for one with positions it is not."""
    return known(score["skill"]) and score["judged_by"] == "skill"


def matrix(view: RunView) -> Matrix:
    """Decisions and scores joined; a family that was judged or scored anywhere has a row."""
    scores = _scores(view)
    verdicts = {(decision.family, decision.target): decision for decision in view.decisions}
    columns = sorted(
        {(one.target, one.label, one.horizon) for one in view.decisions}
        | {(one["target"], one["label"], one["horizon"]) for one in scores.values()},
        key=lambda column: (column[2], column[0]),
    )
    scale = _scale(list(scores.values()))
    keys = verdicts.keys() | scores.keys()
    rows = [
        (
            family,
            [_cell(verdicts.get((family, target)), scores.get((family, target)), scale) for target, _, _ in columns],
        )
        for family in {family for family, _ in keys}
    ]
    return Matrix(columns=columns, rows=sorted(rows, key=_rank), scale=scale)


def _scores(view: RunView) -> dict[tuple[str, str], Score]:
    return {(row["family"], row["target"]): row for row in view.scores.iter_rows(named=True)}


def _scale(scores: Sequence[Score]) -> float:
    """The best interval fits as a whole, and half of the lower ends; what is far worse than naive is cut."""
    best = max((score["skill_high"] for score in scores if known(score["skill_high"])), default=0.0)
    lows = sorted(abs(score["skill_low"]) for score in scores if known(score["skill_low"]))
    return min(max(best, lows[len(lows) // 2] if lows else 0.0, MIN_SCALE), MAX_SCALE)


def _cell(decision: Decision | None, score: Score | None, scale: float) -> Cell | None:
    if decision is None and score is None:
        return None
    return Cell(
        verdict=decision.verdict if decision else None,
        reason=decision.reason if decision else "",
        score=score or {},
        bar=_bar(score, scale) if score else None,
    )


def _bar(score: Score, scale: float) -> Bar | None:
    if score["family"] == YARDSTICK or not _has_skill(score):
        return None
    if not (known(score["skill_low"]) and known(score["skill_high"])):
        return None

    def place(value: float) -> float:
        return round(50 + 50 * min(1.0, max(-1.0, value / scale)), 1)

    return Bar(low=place(score["skill_low"]), point=place(score["skill"]), high=place(score["skill_high"]))


def _rank(row: tuple[str, list[Cell | None]]) -> tuple[bool, float, str]:
    """The yardstick first, then by mean skill; families without any, or not judged by it, last."""
    family, cells = row
    skills = [cell.score["skill"] for cell in cells if cell and cell.score and _has_skill(cell.score)]
    mean = sum(skills) / len(skills) if skills else float("-inf")
    return family != YARDSTICK, -mean, family


def scale_text(scale: float) -> str:
    """The ends of the skill axis as the caption names them."""
    return percent(scale, 0 if scale >= 0.1 else 1)
