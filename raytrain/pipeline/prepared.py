"""Read, check and plan: everything before the first fit. Nothing is written."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from raytrain import data
from raytrain.cluster.ray_cluster import require_cluster
from raytrain.data import Frame
from raytrain.data.diagnostics import Diagnostics
from raytrain.data.diagnostics.store import last_schema
from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import Device
from raytrain.errors import DataError
from raytrain.evaluation.champions.current import Champions
from raytrain.evaluation.champions.incumbents import ChampionFits, champion_fits, champion_recipes
from raytrain.features.build import FeatureTable, build
from raytrain.features.correlations.table import comparable
from raytrain.features.diagnostics import diagnose, inputs_of
from raytrain.features.market import known_ahead
from raytrain.features.weights import regime_weights
from raytrain.folds import Fold, walk_forward
from raytrain.machine.detect import detect, overclaims, resolve
from raytrain.machine.profile import MachineProfile
from raytrain.run_config import RunConfig, adapt, recipes_of, with_tuned
from raytrain.work.batch_memory import with_remembered
from raytrain.work.dataset import Dataset
from raytrain.work.election import Book, Election, elect
from raytrain.work.plan import Plan, Recipes, make_plan, require_rows
from raytrain.work.presets import ADAPTIVE


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run that was checked from end to end; nothing is written yet."""

    config: RunConfig
    profile: MachineProfile
    frame: Frame
    dataset: Dataset
    folds: list[Fold]
    recipes: Recipes
    plan: Plan
    diagnostics: Diagnostics
    beside: ChampionFits
    """Fits of the champions that are not among the recipes, so that all are judged on equal cut-offs."""
    elections: tuple[Election, ...] = ()
    """Which families run on the accelerator and which do not, and why; empty where there is none."""
    warnings: tuple[str, ...]

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """Family -> all its parameters."""
        return params_of(self.recipes)


def prepare(config: RunConfig, tell: Callable[[str], None] = lambda text: None) -> Prepared:
    """Read, check and plan.

    Args:
        config: what to do.
        tell: is told of what takes its time: a family that is tried on an accelerator for the first time.

    Raises:
        UserError: the config or the data is wrong; nothing was written.
    """
    require_cluster(config.cluster)
    profile = resolve(config.machine, config.machines)
    frame = data.load(config.data)
    config, chosen = _chosen(config, frame.table.height, profile)
    recipes = recipes_of(config, slot_device(profile))
    features = build(frame, config.features)
    diagnostics = look_at(frame, features, config)
    if diagnostics.errors:
        raise DataError("\n".join(map(str, diagnostics.errors)))
    if config.correlations is not None:
        comparable(frame, config.correlations)
    dataset = _dataset(frame, features, config, recipes)
    folds = walk_forward(frame.table[DATE].filter(pl.Series(features.usable)), config.folds)
    require_rows(dataset, folds, config.targets, config.folds)
    elections = elect(dataset, folds, recipes, config.store, tell=tell)
    recipes = replace(recipes, devices={one.family: one.device for one in elections})
    recipes, batches = with_remembered(recipes, config.store, profile, dataset.x.shape[1])
    plan = make_plan(dataset, folds, recipes)
    beside = _champions_beside(config, dataset, folds, recipes, plan)
    notes = [*chosen, *batches, *plan.left_out, *beside.notes, *overclaims(profile, detect())]
    notes += [*map(str, elections), *frame.notes, *_ended(frame), *map(str, diagnostics.warnings)]
    return Prepared(
        config=config,
        profile=profile,
        frame=frame,
        dataset=dataset,
        folds=folds,
        recipes=recipes,
        plan=plan,
        beside=beside,
        diagnostics=diagnostics,
        elections=elections,
        warnings=tuple(notes),
    )


def _chosen(config: RunConfig, rows: int, profile: MachineProfile) -> tuple[RunConfig, list[str]]:
    """The config with what the data, the machine and earlier searches decide, and what that is."""
    recipes_of(config, slot_device(profile))  # a wrong name is told before any data is looked at for long
    notes = []
    if config.preset == ADAPTIVE:
        config, why = adapt(config, rows, profile.memory_gb)
        notes.append(why)
    config, tuned = with_tuned(config)
    return config, [*notes, *tuned]


def _champions_beside(
    config: RunConfig, dataset: Dataset, folds: Sequence[Fold], recipes: Recipes, plan: Plan
) -> ChampionFits:
    planned = {(target, fit.spec.family) for fit in plan.fits for target in fit.spec.target_names}
    absent = champion_recipes(Champions.read(config.store).by_target, planned, params_of(recipes))
    return champion_fits(dataset, folds, recipes, absent)


def _ended(frame: Frame) -> list[str]:
    newest = frame.table[DATE].max()
    ended = frame.table.group_by(SERIES, maintain_order=True).agg(pl.col(DATE).max()).filter(pl.col(DATE) < newest)
    return [f"no forecast for {series}: its last row is of {last:%Y-%m-%d}" for series, last in ended.iter_rows()]


def params_of(recipes: Recipes) -> dict[str, dict[str, Any]]:
    """Family -> all its parameters, as JSON values."""
    return {recipe.name: recipe.params.model_dump(mode="json") for recipe in recipes.recipes}


def _dataset(frame: Frame, features: FeatureTable, config: RunConfig, recipes: Recipes) -> Dataset:
    """Features, targets, weights, and what is known ahead where a family wants it."""
    ahead = None
    if any(recipe.family.inputs == "history" for recipe in recipes.recipes):
        ahead = known_ahead(frame, config.features, features, max(target.horizon for target in config.targets))
    weight = None if config.weights is None else regime_weights(frame, config.weights)
    return Dataset.build(frame, features, config.targets, weight=weight, ahead=ahead)


def look_at(frame: Frame, features: FeatureTable, config: RunConfig) -> Diagnostics:
    """What is strange about the data, before anything is trained on it."""
    return diagnose(
        frame,
        config.targets,
        features,
        config.diagnostics,
        inputs=inputs_of(frame, config.features),
        before=last_schema(memory_of(frame, config.store)),
        weights=config.weights,
    )


def memory_of(frame: Frame, store: Path) -> Path:
    """Where the last look at this source is kept: another source in the same store has columns of its own."""
    return store / "diagnostics" / hashlib.sha256(frame.source.encode()).hexdigest()[:16]


def slot_device(profile: MachineProfile) -> Device:
    """The device that this process's machine really has behind the slot; an assumed profile cannot conjure one."""
    return profile.slot if profile.slot == detect().slot else "cpu"


def elected_before(config: RunConfig) -> tuple[Election, ...]:
    """Where families were found to run best on this machine, by the runs of this store so far."""
    device = slot_device(resolve(config.machine, config.machines))
    return () if device == "cpu" else Book.of_machine(config.store, device).elections()
