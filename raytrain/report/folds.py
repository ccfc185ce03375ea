"""Skill by fold: was a family better than naive all the time, or once?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from raytrain.report.view import YARDSTICK, targets
from raytrain.report.words import known

MAX_FOLDS = 24
MIN_SCALE = 0.03
"""The skill of a full colour is at least this, so that noise looks pale."""


@dataclass(frozen=True, kw_only=True)
class FoldTable:
    """One target: skill by family (rows) and fold (columns, oldest first)."""

    target: str
    label: str
    folds: list[str]
    """The newest `MAX_FOLDS`."""
    num_left_out: int
    rows: list[tuple[str, list[float | None]]]
    """Family and its skill in each fold; None where a fit failed or nothing is known."""
    naive_loss: list[float | None]
    """The yardstick's loss: how hard the fold was. Mean over families, whose rows may differ."""
    scale: float
    """The absolute skill that gets the full colour."""


def fold_tables(fold_scores: pl.DataFrame) -> list[FoldTable]:
    """A table per target."""
    return [
        _table(fold_scores.filter(pl.col("target") == target), target, label)
        for target, label, _ in targets(fold_scores)
    ]


def _table(scores: pl.DataFrame, target: str, label: str) -> FoldTable:
    folds = sorted(scores["fold"].cast(pl.String).unique(), key=natural)
    shown = folds[-MAX_FOLDS:]
    candidates = scores.filter(pl.col("family") != YARDSTICK)
    rows = {family: [None] * len(shown) for family in sorted(candidates["family"].unique())}
    return FoldTable(
        target=target,
        label=label,
        folds=shown,
        num_left_out=len(folds) - len(shown),
        rows=[(family, _by_fold(candidates.filter(pl.col("family") == family), "skill", shown)) for family in rows],
        naive_loss=_by_fold(scores, "naive_loss", shown),
        scale=_scale(candidates["skill"].to_list()),
    )


def _by_fold(scores: pl.DataFrame, column: str, folds: Sequence[str]) -> list[float | None]:
    found = dict(scores.group_by(pl.col("fold").cast(pl.String)).agg(pl.col(column).mean()).iter_rows())
    return [value if known(value) else None for value in map(found.get, folds)]


def _scale(skills: Sequence[float | None]) -> float:
    """The 80th percentile: one diverged fit must not make every other cell white."""
    sizes = sorted(abs(skill) for skill in skills if skill is not None and known(skill))
    return max(MIN_SCALE, sizes[int(0.8 * (len(sizes) - 1))]) if sizes else MIN_SCALE


def natural(text: str) -> list[tuple[bool, int, str]]:
    """A sort key that puts `fold 9` before `fold 10`.

    >>> sorted(["f10", "f9"], key=natural)
    ['f9', 'f10']
    """
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]


def shade(skill: float | None, scale: float) -> tuple[str, int]:
    """The side (`up` better than naive, `down` worse, `none`) and the strength of the colour, 0 to 100."""
    if skill is None:
        return "none", 0
    strength = round(100 * min(1.0, abs(skill) / scale))
    return ("up" if skill > 0 else "down") if strength else "none", strength
