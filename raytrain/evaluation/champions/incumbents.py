"""The champions beside a run's recipes: fitted on the same folds, so that both are judged on equal cut-offs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import polars as pl

from raytrain import families
from raytrain.errors import UserError
from raytrain.evaluation.gates.evidence import Incumbents, Place
from raytrain.folds import Fold
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Plan, PlannedFit, Recipe, Recipes, make_plan

Params = Mapping[str, Mapping[str, Any]]
"""Family -> all its parameters, as JSON values."""


class Standing(Protocol):
    """A recipe in production, such as `raytrain.evaluation.champions.current.Champion`."""

    @property
    def family(self) -> str: ...

    @property
    def params(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class ChampionRecipe:
    """A champion that is not among the recipes of a run."""

    target: str
    family: str
    params: Mapping[str, Any]
    """All of them, as JSON values."""


@dataclass(frozen=True)
class ChampionFits:
    """What must be fitted beside a run's plan, so that every champion is compared on its cut-offs."""

    fits: tuple[PlannedFit, ...]
    notes: tuple[str, ...]
    """Champions that cannot be fitted any more, with the reason; their challengers are held."""

    def of_target(self, target: str) -> list[PlannedFit]:
        """The fits that forecast a target for its champion."""
        return [fit for fit in self.fits if target in fit.spec.target_names]


def champion_recipes(
    champions: Mapping[str, Standing], planned: Collection[Place], params: Params
) -> tuple[ChampionRecipe, ...]:
    """The champions whose recipe a run would not fit.

    Args:
        champions: target -> what is in production.
        planned: (target, family) that the run fits.
        params: of the run's families.
    """
    targets = {target for target, _ in planned}
    return tuple(
        ChampionRecipe(target, one.family, one.params)
        for target, one in sorted(champions.items())
        if target in targets and not _is_planned(target, one, planned, params)
    )


def champion_fits(
    dataset: Dataset,
    folds: Sequence[Fold],
    what: Recipes,
    absent: Sequence[ChampionRecipe],
    earlier: Plan | None = None,
) -> ChampionFits:
    """The champions' fits on the folds of a run, each beside the run's other recipes, which an ensemble reads.

    Args:
        dataset: of the run.
        folds: of the run.
        what: the run's recipes; targets, seeds and levels are taken over.
        absent: from `champion_recipes`.
        earlier: a walk-forward that champions on these folds learn from, where they mix what others forecast.
    """
    fits: dict[str, PlannedFit] = {}
    notes = []
    for one in absent:
        try:
            recipe = Recipe(one.family, families.make_params(one.family, dict(one.params)))
            others = [other for other in what.recipes if other.name != one.family]
            plan = make_plan(dataset, folds, replace(what, recipes=(*others, recipe)), earlier)
        except UserError as error:
            notes.append(f"the champion of {one.target}, {one.family}, cannot be fitted any more: {error}")
            continue
        mine = [fit for fit in plan.fits if fit.spec.family == one.family and one.target in fit.spec.target_names]
        fits |= {fit.spec.key: fit for fit in mine}
    return ChampionFits(tuple(fits.values()), tuple(notes))


def incumbents(
    champions: Mapping[str, Standing], planned: Collection[Place], params: Params, forecasts: pl.DataFrame
) -> Incumbents:
    """Who the challengers of a run are compared with.

    Args:
        champions: target -> what is in production.
        planned: (target, family) that the run fits.
        params: of the run's families.
        forecasts: of the champions' own fits, from `raytrain.evaluation.scoring.collect.collect`; may be empty.
    """
    in_run = {target for target, one in champions.items() if _is_planned(target, one, planned, params)}
    away = {target: one.family for target, one in champions.items() if target not in in_run}
    if not forecasts.is_empty():
        # A family that forecasts several targets in one fit may be the champion of some of them only.
        of_champion = pl.struct("target", "family").is_in([{"target": key, "family": away[key]} for key in away])
        forecasts = forecasts.filter(of_champion)
    return Incumbents(
        families={target: one.family for target, one in champions.items()},
        in_run=frozenset(in_run),
        predictions=forecasts,
    )


def _is_planned(target: str, one: Standing, planned: Collection[Place], params: Params) -> bool:
    return (target, one.family) in planned and dict(params.get(one.family, {})) == dict(one.params)
