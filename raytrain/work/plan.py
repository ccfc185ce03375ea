"""Which fits a run consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any, Literal

from raytrain import families
from raytrain.engines.base import Device, Engine, Family, Lane, Needs, Params, Shape, Task
from raytrain.engines.members import MemberFamily, MemberParams
from raytrain.engines.process import ENGINE_BYTES, KerasBackend
from raytrain.errors import ConfigError, DataError
from raytrain.features.targets import Method, TargetConfig
from raytrain.folds import Fold, FoldsConfig
from raytrain.work.dataset import Dataset
from raytrain.work.devices import assumed_device, uses_slot
from raytrain.work.members import Place, columns_of, members_of, require_members
from raytrain.work.spec import JOIN, FitSpec, canonical_json
from raytrain.work.training_plan import TrainingPlan


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
    """The device behind the slot; `cpu` where there is none."""
    devices: Mapping[str, Device] = field(default_factory=dict)
    """Family -> where it runs, as elected; what is assumed of a family that is not named."""
    budget_s: float | None = None
    """Seconds that a fit may take before it stops gracefully; no limit when None."""
    keras_backend: KerasBackend = "tensorflow"
    today: TrainingPlan = field(default_factory=TrainingPlan)
    """What is taken on of all this."""

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

    def device_of(self, recipe: Recipe) -> Device:
        """Where a recipe's fits run."""
        assumed = assumed_device(recipe.family, self.slot_device)
        return self.devices.get(recipe.name, assumed) if uses_slot(recipe.family) else "cpu"


def make_plan(dataset: Dataset, folds: Sequence[Fold], what: Recipes, earlier: Plan | None = None) -> Plan:
    """Every recipe x target x fold x seed; fits that wait for others come after them.

    Args:
        dataset: what the fits see.
        folds: what they are trained and tested on.
        what: targets, recipes and seeds.
        earlier: a walk-forward whose fits ensembles on these folds learn from, beside those planned here.

    Raises:
        ConfigError: a library is not installed, or an ensemble mixes what is not fitted.
    """
    planner = _Planner(dataset, folds, what, earlier)
    for recipe in sorted(what.recipes, key=lambda one: one.family.inputs == "members"):
        planner.add(recipe)
    return Plan(tuple(planner.fits), tuple(planner.left_out))


class _Planner:
    """Collects the fits of a plan."""

    def __init__(self, dataset: Dataset, folds: Sequence[Fold], what: Recipes, earlier: Plan | None) -> None:
        self._dataset, self._folds, self._what = dataset, folds, what
        self._seen = dataset.seen_hashes(folds)
        self._series = {fold.name: dataset.series_hash(fold) for fold in folds}
        self._paths: dict[tuple[Method, int], dict[str, str]] = {}
        self._blocks: dict[tuple[tuple[Method, ...], int], dict[str, str]] = {}
        self._walk = {fit.spec.fold.name: fit.spec.fold for fit in earlier.fits} if earlier else {}
        self._walk |= {fold.name: fold for fold in folds}
        self._planned: dict[Place, FitSpec] = {}
        self.fits: list[PlannedFit] = []
        self.left_out: list[str] = []
        for fit in earlier.fits if earlier else ():
            self._remember(fit.spec)

    def add(self, recipe: Recipe) -> None:
        """Plan a recipe on every target that today's plan takes on, every fold and seed."""
        not_today = [one.name for one in self._what.targets if not self._what.today.takes(one.name, recipe.name)]
        if not_today:
            self.left_out.append(f"the training plan leaves {recipe.name} out of {', '.join(not_today)}")
        for targets in self._targets_of(recipe):
            task = _task(targets[0])
            reason = self._why_not(recipe, targets, task)
            if reason:
                self.left_out += [f"{reason}, so {target.name} goes without it" for target in targets]
                continue
            for fold, seed in product(self._folds, self._what.seeds):
                spec = self._spec(recipe, targets, task, fold, seed)
                rows = int(self._dataset.train_rows(fold, *spec.target_names).sum())
                self.fits.append(_planned(spec, recipe, rows, self._dataset))
                self._remember(spec)

    def _targets_of(self, recipe: Recipe) -> list[tuple[TargetConfig, ...]]:
        """One target for each fit, or all of a task together for families that forecast them so."""
        targets = [target for target in self._what.targets if self._what.today.takes(target.name, recipe.name)]
        if not recipe.family.multi_output:
            return [(target,) for target in targets]
        tasks = dict.fromkeys(map(_task, targets))
        return [tuple(target for target in targets if _task(target) == task) for task in tasks]

    def _asked_on(self, targets: Sequence[TargetConfig]) -> list[str]:
        """The families that are fitted on all of the targets."""
        today, names = self._what.today, [one.name for one in self._what.recipes]
        return [name for name in names if all(today.takes(target.name, name) for target in targets)]

    def _why_not(self, recipe: Recipe, targets: Sequence[TargetConfig], task: Task) -> str:
        """Why a recipe does not forecast targets of a task; empty when it does."""
        if task not in recipe.family.tasks:
            return f"{recipe.name} has no {task} form"
        if isinstance(recipe.params, MemberParams):
            asked = self._asked_on(targets)
            members = recipe.params.members_for(task)
            if task == "binary" and not set(members) <= set(asked):
                return f"{recipe.name} mixes probabilities of {', '.join(members) or 'no family'}, not all fitted"
            require_members(recipe.name, members, asked, task, self._what.quantiles)
            if issubclass(recipe.family, MemberFamily):
                columns_of(self._dataset, recipe.family.regime_features(recipe.params))
        return ""

    def _spec(self, recipe: Recipe, targets: tuple[TargetConfig, ...], task: Task, fold: Fold, seed: int) -> FitSpec:
        family, what, dataset = recipe.family, self._what, self._dataset
        names = tuple(target.name for target in targets)
        members: tuple[str, ...] = ()
        if isinstance(recipe.params, MemberParams):
            mixed = recipe.params.members_for(task)
            members = members_of(mixed, names[0], fold, seed, folds=list(self._walk.values()), planned=self._planned)
        methods, steps = _reads(recipe, targets, task)
        return FitSpec(
            **_identity(recipe, what),
            target=JOIN.join(names),
            target_configs=tuple(canonical_json(target.model_dump(mode="json")) for target in targets),
            task=task,
            quantiles=what.quantiles,
            fold=fold,
            seed=seed,
            features_hash=self._seen[fold.name],
            labels_hash=dataset.label_hash(fold, *names),
            block_hash=self._block_hash(methods, steps, fold),
            series_hash=self._series[fold.name],
            path_hash="".join(self._path_hash(method, steps, fold) for method in methods),
            preprocess=canonical_json(dataset.preprocess.model_dump(mode="json")) if family.scaled else "",
            members=members,
            budget_s=what.budget_s,
        )

    def _path_hash(self, method: Method, steps: int, fold: Fold) -> str:
        if (method, steps) not in self._paths:
            self._paths[method, steps] = self._dataset.path_hashes(self._folds, method, steps)
        return self._paths[method, steps][fold.name]

    def _block_hash(self, methods: tuple[Method, ...], steps: int, fold: Fold) -> str:
        if (methods, steps) not in self._blocks:
            self._blocks[methods, steps] = self._dataset.block_hashes(self._folds, methods, steps)
        return self._blocks[methods, steps][fold.name]

    def _remember(self, spec: FitSpec) -> None:
        self._planned |= dict.fromkeys(Place.all_of(spec), spec)


def _reads(recipe: Recipe, targets: Sequence[TargetConfig], task: Task) -> tuple[tuple[Method, ...], int]:
    """What a fit reads beside its features: paths of prices, and how many rows of what is known ahead."""
    looks_ahead = recipe.family.inputs == "history"
    if not looks_ahead and (task == "binary" or recipe.params.scale == "none"):
        return (), 0
    methods = tuple(dict.fromkeys(target.method for target in targets))
    return methods, max(target.horizon for target in targets) if looks_ahead else 0


def _task(target: TargetConfig) -> Task:
    return "binary" if target.kind == "threshold" else "regression"


Mode = Literal["overlapped", "two-stage"]
_STAGES: tuple[tuple[str, Engine], ...] = (("CPU", "native"), ("TensorFlow", "keras"), ("Torch", "torch"))
_OTHERS = "others"


def stages(plan: Plan, mode: Mode) -> list[tuple[str, list[PlannedFit]]]:
    """What runs side by side, stage after stage: everything at once, or one kind of engine after the other.

    Two stages and more: CPU families, then Keras, then Torch, then those that wait for others.
    """
    if mode == "overlapped":
        return [("all", list(plan.fits))]
    alone = [fit for fit in plan.fits if not fit.spec.members]
    found = [(name, [fit for fit in alone if fit.engine == engine]) for name, engine in _STAGES]
    found.append((_OTHERS, [fit for fit in plan.fits if fit.spec.members]))
    return [(name, fits) for name, fits in found if fits]


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


def _identity(recipe: Recipe, what: Recipes) -> dict[str, Any]:
    """The parts of a fit's key that say what computes."""
    family = recipe.family
    packages = (*family.packages, what.keras_backend) if family.engine == "keras" else family.packages
    return {
        "family": recipe.name,
        "family_version": family.version,
        "packages": tuple((name, _version(name, recipe.name)) for name in packages),
        "params": canonical_json(recipe.params.model_dump(mode="json")),
        "device": what.device_of(recipe),
    }


def _planned(spec: FitSpec, recipe: Recipe, rows: int, dataset: Dataset) -> PlannedFit:
    family = recipe.family
    shape = Shape(
        rows=rows,
        features=dataset.x.shape[1],
        steps=family.steps(recipe.params),
        outputs=len(spec.target_configs),
        quantiles=len(spec.quantiles) if family.gives_quantiles and spec.task == "regression" else 1,
    )
    return PlannedFit(
        spec=spec,
        engine=family.engine,
        # The slot is for what computes on an accelerator; on a CPU a fit counts as what it is, threads on cores.
        lane="cores" if spec.device == "cpu" else "slot",
        shape=shape,
        needs=family.needs(recipe.params, shape),
    )


_OTHER_NAMES = {"xgboost": ("xgboost-cpu",), "tensorflow": ("tensorflow-cpu",)}


def _version(package: str, family: str) -> str:
    for name in (package, *_OTHER_NAMES.get(package, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise ConfigError(f"family {family} needs the package {package}, got none; pip install 'raytrain[all]'")
