"""Which recipe is in production for each target of a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from raytrain.config import Section
from raytrain.evaluation.champions.journal import Journal, Standing
from raytrain.evaluation.gates.decision import Decision


class Champion(Section):
    """A recipe in production."""

    family: str
    params: dict[str, Any]
    """All parameters, as JSON values."""
    run_id: str
    """The newest run that promoted it."""
    reason: str
    """The gate's."""
    key: str = ""
    """Of its version in the journal of promotions."""
    version: int = 0
    """Its number: 1 for the first version of the target."""
    fit: str | None = None
    """Key of its fit on all rows."""
    bundle: str | None = None
    """Its folder below the store, when one was made."""


@dataclass(frozen=True)
class Champions:
    """Target -> the promoted recipe."""

    by_target: Mapping[str, Champion]

    @classmethod
    def read(cls, store: Path) -> "Champions":
        """The champions of a store, as its journal of promotions adds up; none when nothing was ever promoted.

        Raises:
            StoreCorrupt: the journal is damaged.
        """
        standings = Journal.read(store).standings()
        return cls({target: _champion(one) for target, one in standings.items() if one.champion is not None})


def _champion(standing: Standing) -> Champion:
    key = standing.champions[-1]
    given = standing.versions[key].version.model_dump(exclude={"target", "decision"})
    return Champion(**given, key=key, version=standing.number(key))


def best_families(decisions: Sequence[Decision], scores: pl.DataFrame) -> dict[str, str]:
    """Target -> the family to forecast with: the best verdict, then the highest skill; naive has skill 0."""
    order = {"PROMOTE": 2, "HOLD": 1, "REJECT": 0}
    skill = {(row["target"], row["family"]): row["skill"] for row in scores.iter_rows(named=True)}

    def rank(decision: Decision) -> tuple[int, float]:
        measured = skill[decision.target, decision.family]
        return order[decision.verdict], float("-inf") if measured is None else measured

    best: dict[str, Decision] = {}
    for decision in decisions:
        if decision.target not in best or rank(decision) > rank(best[decision.target]):
            best[decision.target] = decision
    return {target: decision.family for target, decision in best.items()}
