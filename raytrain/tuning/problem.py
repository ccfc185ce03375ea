"""What is searched for: one family on one target, over the folds of a prepared run."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from raytrain import families
from raytrain.cluster.config import ClusterConfig
from raytrain.engines.base import Family, Lane, Params, Task
from raytrain.engines.members import MemberParams
from raytrain.errors import ConfigError, did_you_mean
from raytrain.evaluation.scoring.pairs import NAIVE
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold
from raytrain.machine.profile import MachineProfile
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.losses import require_metric
from raytrain.tuning.space import Point, SearchSpace
from raytrain.work.dataset import Dataset
from raytrain.work.plan import PlannedFit, Recipe, Recipes, make_plan
from raytrain.work.spec import canonical_json
from raytrain.work.training_plan import TrainingPlan


class RunSettings(Protocol):
    """What a search needs of a run's config."""

    @property
    def store(self) -> Path: ...
    @property
    def params(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def cluster(self) -> ClusterConfig: ...


class Run(Protocol):
    """What a search needs of a run: `raytrain.pipeline.prepare` gives one."""

    @property
    def config(self) -> RunSettings: ...
    @property
    def profile(self) -> MachineProfile: ...
    @property
    def dataset(self) -> Dataset: ...
    @property
    def folds(self) -> Sequence[Fold]: ...
    @property
    def recipes(self) -> Recipes: ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything that a trial has to know; small enough to be sent to each."""

    family: str
    target: TargetConfig
    task: Task
    space: SearchSpace
    base: Mapping[str, Any]
    """The parameters that the run has without a search."""
    metric: str
    mode: str
    """`max` or `min`: which way the metric is better."""
    seeds: tuple[int, ...]
    """The run's; a search fits with the first one."""
    search: tuple[Fold, ...]
    holdout: tuple[Fold, ...]
    """The newest folds, after those of the search."""
    naive: Mapping[str, PlannedFit]
    """Fold -> the fit of the yardstick."""
    planned: Mapping[bool, tuple[PlannedFit, ...]]
    """Whether the target is divided by a volatility -> the fits of all folds and seeds with the base's parameters."""
    cluster: ClusterConfig
    timeout_s: float
    """Seconds that one fit may take."""
    store: Path
    dataset: Path = Path()
    """The folder that fits see; see `on_disk`."""

    @classmethod
    def of(cls, run: Run, family: str, target: str, config: TuneConfig) -> "Problem":
        """Check what is asked; nothing is written.

        Raises:
            ConfigError: an unknown family, target, metric or parameter, an empty range, too few folds, or a family that
                cannot forecast the target, only mixes the forecasts of others, or takes positions.
        """
        kind = families.get(family)
        wanted = _target(run.recipes.targets, target)
        task: Task = "binary" if wanted.kind == "threshold" else "regression"
        base = _params(run, family)
        if isinstance(base, MemberParams):
            raise ConfigError(f"a search needs a family that reads data, got {family}, which mixes others; tune those")
        if kind.positions is not Family.positions:
            raise ConfigError(
                f"a search needs a family that is judged by its forecasts, got {family}, which is judged by what its "
                "positions earn, and no fold reports that; compare a few of its parameters in the daily job"
            )
        if task not in kind.tasks:
            raise ConfigError(f"a search needs a family that can forecast the target, {family} has no {task} form")
        mode = require_metric(config.metric, task)
        given = base.model_dump(mode="json")
        space = SearchSpace.of(family, given, config.space)
        cut = _first_of_holdout(run.folds, config)
        naive = _plan(run, Recipe(NAIVE, _params(run, NAIVE)), wanted)
        return cls(
            family=family,
            target=wanted,
            task=task,
            space=space,
            base=given,
            metric=config.metric,
            mode=mode,
            seeds=run.recipes.seeds,
            search=tuple(run.folds[:cut]),
            holdout=tuple(run.folds[cut:]),
            naive={fit.spec.fold.name: fit for fit in naive if fit.spec.seed == run.recipes.seeds[0]},
            planned={
                scaled: _plan(run, Recipe(family, _scaled(base, scaled, space)), wanted)
                for scaled in _scalings(base, space)
            },
            cluster=run.config.cluster,
            timeout_s=config.timeout_s or run.config.cluster.timeout_s,
            store=run.config.store.absolute(),
        )

    def on_disk(self, dataset: Dataset) -> "Problem":
        """The same, with the dataset where fits find it."""
        return replace(self, dataset=dataset.save(self.store / "prepared").absolute())

    @property
    def name(self) -> str:
        """`lightgbm_quantile-return_5d`."""
        return f"{self.family}-{self.target.name}"

    @property
    def sweep(self) -> str:
        """The name of this search: equal names mean equal trials, and an interrupted one goes on."""
        fits = [fit.spec.key for planned in self.planned.values() for fit in planned]
        fits += [fit.spec.key for fit in self.naive.values()]
        parts = [fits, self.space.to_json(), self.metric, [fold.name for fold in self.search]]
        return f"{self.name}-{hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:10]}"

    @property
    def folder(self) -> Path:
        """Where this search is kept."""
        return self.store / "sweeps" / self.sweep

    @property
    def lane(self) -> Lane:
        """Where these fits run."""
        return next(iter(self.planned.values()))[0].lane

    @property
    def memory_bytes(self) -> int:
        """The peak that the hungriest fit at the edges of the space is expected to have."""
        points = [{}, *self.space.edges()]
        folds = (self.search[-1], *self.holdout[-1:])
        return max(fit.prior.memory_bytes for point in points for fold in folds for fit in self.fits(point, [fold]))

    def params(self, point: Point) -> Params:
        """All parameters of a point of the search.

        Raises:
            ConfigError: the family refuses them.
        """
        return families.make_params(self.family, {**self.base, **self.space.decode(point)})

    def fits(self, point: Point, folds: Sequence[Fold], seeds: Sequence[int] | None = None) -> list[PlannedFit]:
        """The fits of a point, with the keys that the daily job would give them.

        Args:
            point: searched parameters; the rest are the run's.
            folds: on which.
            seeds: of which seeds; the first alone when not given.
        """
        params, names = self.params(point), [fold.name for fold in folds]
        chosen = self.seeds[:1] if seeds is None else seeds
        return list(self._with(params, names, chosen))

    def _with(self, params: Params, folds: Sequence[str], seeds: Sequence[int]) -> Iterator[PlannedFit]:
        family, text = families.get(self.family), canonical_json(params.model_dump(mode="json"))
        for fit in self.planned[params.scale != "none"]:
            if fit.spec.fold.name in folds and fit.spec.seed in seeds:
                shape = replace(fit.shape, steps=family.steps(params))
                needs = family.needs(params, shape)
                yield replace(fit, spec=replace(fit.spec, params=text), shape=shape, needs=needs)


def _target(targets: Sequence[TargetConfig], name: str) -> TargetConfig:
    named = {target.name: target for target in targets}
    if name not in named:
        raise ConfigError(f"`{name}` is not a target of this run; {did_you_mean(name, named)}")
    return named[name]


def _params(run: Run, family: str) -> Params:
    """What the run fits the family with, or would."""
    planned = {recipe.name: recipe.params for recipe in run.recipes.recipes}
    return planned.get(family) or families.make_params(family, run.config.params.get(family, {}))


def _first_of_holdout(folds: Sequence[Fold], config: TuneConfig) -> int:
    if len(folds) <= config.holdout_folds:
        raise ConfigError(
            f"folds.num_folds must be larger than tune.holdout_folds = {config.holdout_folds}, which the search never "
            f"sees, got {len(folds)}; raise folds.num_folds"
        )
    return len(folds) - config.holdout_folds


def _scalings(base: Params, space: SearchSpace) -> set[bool]:
    """Whether targets are divided by a volatility, in any trial: what a fit reads depends on it."""
    searched = space.dimensions.get("scale", ())
    values = [base.scale, *(searched if isinstance(searched, tuple) else ())]
    return {value != "none" for value in values}


def _scaled(base: Params, scaled: bool, space: SearchSpace) -> Params:
    if (base.scale != "none") == scaled:
        return base
    values = space.dimensions["scale"]
    assert isinstance(values, tuple)
    return base.model_copy(update={"scale": next(value for value in values if (value != "none") == scaled)})


def _plan(run: Run, recipe: Recipe, target: TargetConfig) -> tuple[PlannedFit, ...]:
    """The fits of one recipe that forecast the target, on all folds."""
    targets = run.recipes.targets if recipe.family.multi_output else (target,)
    what = replace(run.recipes, recipes=(recipe,), targets=targets, today=TrainingPlan())
    fits = make_plan(run.dataset, run.folds, what).fits
    return tuple(fit for fit in fits if target.name in fit.spec.target_names)
