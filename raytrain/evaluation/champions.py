"""Which recipe is in production for each target of a store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from raytrain.config import Section
from raytrain.data.atomic import replacing
from raytrain.errors import StoreCorrupt
from raytrain.evaluation.decision import Decision

FILE = "champions.json"


class Champion(Section):
    """A recipe in production."""

    family: str
    params: dict[str, Any]
    """All parameters, as JSON values."""
    run_id: str
    """The newest run that promoted it."""
    reason: str
    """The gate's."""


_FILE_CONTENT = TypeAdapter(dict[str, Champion])


@dataclass(frozen=True)
class Champions:
    """Target -> the promoted recipe."""

    by_target: Mapping[str, Champion]

    @classmethod
    def read(cls, store: Path) -> "Champions":
        """The champions of a store; none when nothing was ever promoted.

        Raises:
            StoreCorrupt: the file is there but cannot be read.
        """
        path = store / FILE
        if not path.exists():
            return cls({})
        try:
            return cls(_FILE_CONTENT.validate_json(path.read_bytes()))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the whole file"
            raise StoreCorrupt(
                f"{path} must be the list of champions, got {first['msg']} at {where}; restore it or move it away"
            ) from None

    def mape_on(self, scores: pl.DataFrame, params: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """Target -> the champion's MAPE on the cut-offs of this run.

        A champion whose recipe is not part of the run has no figure: a MAPE of other cut-offs says nothing here.
        """
        found = {}
        for row in scores.iter_rows(named=True):
            champion = self.by_target.get(row["target"])
            same = champion and champion.family == row["family"] and champion.params == params[row["family"]]
            if same and row["mape"] is not None:
                found[row["target"]] = row["mape"]
        return found

    def promote(
        self,
        decisions: Sequence[Decision],
        scores: pl.DataFrame,
        params: Mapping[str, Mapping[str, Any]],
        run_id: str,
    ) -> "Champions":
        """The best promoted recipe of each target takes over."""
        skill = {(row["target"], row["family"]): row["skill"] for row in scores.iter_rows(named=True)}
        promoted = [decision for decision in decisions if decision.verdict == "PROMOTE"]
        by_target = dict(self.by_target)
        for one in sorted(promoted, key=lambda decision: skill[decision.target, decision.family]):
            by_target[one.target] = Champion(
                family=one.family, params=dict(params[one.family]), run_id=run_id, reason=one.reason
            )
        return Champions(by_target)

    def write(self, store: Path) -> None:
        """Replace the file in one step."""
        content = {target: champion.model_dump() for target, champion in self.by_target.items()}
        with replacing(store / FILE) as file:
            file.write(json.dumps(content, indent=1, sort_keys=True).encode())


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
