"""Which fits a run consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any

from raytrain import families
from raytrain.engines.base import Device, Engine, Family, Lane, Needs, Params, Shape, Task
from raytrain.engines.process import ENGINE_BYTES
from raytrain.errors import ConfigError, DataError
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold, FoldsConfig
from raytrain.work.dataset import Dataset
from raytrain.work.spec import FitSpec, canonical_json


@dataclass(frozen=True)
class Recipe:
    """A family with its parameters, checked."""

    name: str
    params: Params

    @property
    def family(self) -> type[Family[Any]]:
        """The family's class; no engine is loaded."""
        return families.get(self.name)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """An expected cost."""

    work_s: float
    """CPU seconds on one thread."""
    memory_bytes: int
    """Peak resident memory of the process, the engine included."""


@dataclass(frozen=True, kw_only=True)
class PlannedFit:
    """A fit and what it is expected to need."""

    spec: FitSpec
    engine: Engine
    lane: Lane
    shape: Shape
    needs: Needs

    @property
    def prior(self) -> Prior:
        """What the fit is expected to cost before anything was measured."""
        return Prior(work_s=self.needs.work, memory_bytes=ENGINE_BYTES[self.engine] + self.needs.memory_bytes)


@dataclass(frozen=True)
class Plan:
    """All fits of a run."""

    fits: tuple[PlannedFit, ...]
    left_out: tuple[str, ...]
    """What was asked for and cannot be fitted, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """What is fitted on each fold."""

    recipes: tuple[Recipe, ...]
    targets: tuple[TargetConfig, ...]
    quantiles: tuple[float, ...]
    seeds: tuple[int, ...]
    slot_device: Device

    @classmethod
    def make(
        cls,
        names: Sequence[str],
        params: Mapping[str, Mapping[str, Any]],
        **rest: Any,
    ) -> "Recipes":
        """Check names and parameters before any work is done.

        Raises:
            ConfigError: an unknown family or parameter, also of a family that is not fitted now; a name twice.
        """
        if twice := {name for name in names if list(names).count(name) > 1}:
            raise ConfigError(f"each family may be named once, got {', '.join(sorted(twice))} twice in `families`")
        checked = tuple(Recipe(name, families.make_params(name, params.get(name, {}))) for name in names)
        for name in params:
            families.make_params(name, params[name])
        return cls(recipes=checked, **rest)


def make_plan(dataset: Dataset, folds: Sequence[Fold], what: Recipes) -> Plan:
    """Every target x recipe x fold x seed, in that order.

    Raises:
        ConfigError: a library is not installed.
    """
    seen = dataset.seen_hashes(folds)
    fits: list[PlannedFit] = []
    left_out: list[str] = []
    for target, recipe in product(what.targets, what.recipes):
        task: Task = "binary" if target.kind == "threshold" else "regression"
        if task not in recipe.family.tasks:
            left_out.append(f"{recipe.name} has no {task} form, so {target.name} goes without it")
            continue
        for fold, seed in product(folds, what.seeds):
            spec = FitSpec(
                **_identity(recipe, what.slot_device),
                target=target.name,
                target_config=canonical_json(target.model_dump(mode="json")),
                task=task,
                quantiles=what.quantiles,
                fold=fold,
                seed=seed,
                features_hash=seen[fold.name],
                labels_hash=dataset.label_hash(fold, target.name),
            )
            fits.append(_planned(spec, recipe, int(dataset.train_rows(fold, target.name).sum()), dataset))
    return Plan(tuple(fits), tuple(left_out))


def require_rows(dataset: Dataset, folds: Sequence[Fold], targets: Sequence[TargetConfig], config: FoldsConfig) -> None:
    """Refuse folds that cannot be learned from.

    Raises:
        DataError: a fold has fewer training rows than `folds.min_train_rows`.
    """
    for target in targets:
        for fold in folds:
            rows = int(dataset.train_rows(fold, target.name).sum())
            if rows < config.min_train_rows:
                raise DataError(
                    f"fold {fold.name} must have at least folds.min_train_rows = {config.min_train_rows} training rows "
                    f"for {target.name}, got {rows}; lower folds.num_folds or folds.min_train_rows, or bring more rows"
                )


def _identity(recipe: Recipe, slot_device: Device) -> dict[str, Any]:
    """The parts of a fit's key that say what computes."""
    family = recipe.family
    # Keras stays on the CPU: tensorflow-metal computes wrong numbers, and a small net gains nothing on CUDA.
    on_device = family.lane == "slot" and family.engine == "torch"
    return {
        "family": recipe.name,
        "family_version": family.version,
        "packages": tuple((name, _version(name, recipe.name)) for name in family.packages),
        "params": canonical_json(recipe.params.model_dump(mode="json")),
        "device": slot_device if on_device else "cpu",
    }


def _planned(spec: FitSpec, recipe: Recipe, rows: int, dataset: Dataset) -> PlannedFit:
    family = recipe.family
    shape = Shape(
        rows=rows,
        features=dataset.x.shape[1],
        steps=family.steps(recipe.params),
        quantiles=len(spec.quantiles) if family.gives_quantiles and spec.task == "regression" else 1,
    )
    return PlannedFit(
        spec=spec, engine=family.engine, lane=family.lane, shape=shape, needs=family.needs(recipe.params, shape)
    )


_OTHER_NAMES = {"xgboost": ("xgboost-cpu",), "tensorflow": ("tensorflow-cpu",)}


def _version(package: str, family: str) -> str:
    for name in (package, *_OTHER_NAMES.get(package, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise ConfigError(f"family {family} needs the package {package}, got none; pip install 'raytrain[all]'")
