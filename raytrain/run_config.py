"""Everything a run can be told, and what follows from it before any data is read."""

from collections.abc import Mapping
from datetime import datetime
from datetime import time as TimeOfDay
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from raytrain.cluster.config import ClusterConfig
from raytrain.config import Settings
from raytrain.data import DataConfig
from raytrain.data.diagnostics import DiagnosticsConfig
from raytrain.engines.base import Device
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.gates.config import GatesConfig
from raytrain.features.build import FeaturesConfig
from raytrain.features.correlations.config import CorrelationsConfig
from raytrain.features.targets import TargetConfig
from raytrain.features.weights import WeightsConfig
from raytrain.folds import FoldsConfig
from raytrain.tracking.config import TrackingConfig
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.tuned import tuned_params
from raytrain.work.plan import Mode, Recipes
from raytrain.work.presets import ADAPTIVE, choose_preset, lay_under, next_time, preset_file
from raytrain.work.training_plan import TrainingPlan


class RunConfig(Settings):
    """Everything a run can be told."""

    free_form: ClassVar[tuple[str, ...]] = ("params",)
    store: Path = Path("store")
    """Folder that keeps results, runs and the tracking database."""
    machine: str = "auto"
    """`auto`, the name of a profile in `machines`, or a path to one."""
    machines: Path = Path("configs/machines")
    """Folder with machine profiles."""
    preset: str = "balanced"
    """How much effort families make: the name of a file in `presets`, which lies under everything that is given, or
    `adaptive`: the one that suits the number of rows, the memory and the time left."""
    presets: Path = Path("configs/presets")
    """Folder with presets."""
    plan: str = "auto"
    """Training plan, which filters targets and families: a name in `plans`, a path, `none`, or `auto` for
    `default.yaml` in `plans` if there is one."""
    plans: Path = Path("configs/plans")
    """Folder with training plans."""
    mode: Mode = "overlapped"
    """`overlapped` fills cores and slot side by side; `two-stage` runs one kind of engine after the other."""
    stop_by: TimeOfDay | None = None
    """Time of day, such as 07:00, at which the run ends with what is finished; the next one that comes."""
    data: DataConfig = DataConfig()
    features: FeaturesConfig = FeaturesConfig()
    targets: tuple[TargetConfig, ...] = Field(
        (
            TargetConfig(horizon=1, label="1d"),
            TargetConfig(horizon=5, label="1w"),
            TargetConfig(horizon=21, label="1m"),
        ),
        min_length=1,
    )
    folds: FoldsConfig = FoldsConfig()
    families: tuple[str, ...] = Field(
        ("naive", "har", "gjr", "lightgbm", "lightgbm_quantile", "xgboost", "ngboost", "lstm", "mlp", "ensemble"),
        min_length=1,
    )
    """Which families are fitted; `raytrain.families.names()` lists them all."""
    params: dict[str, dict[str, Any]] = {}
    """Family -> parameters that differ from the family's defaults."""
    tuned: bool = False
    """Whether families take the parameters that searches recommend (`<store>/tuned`), below those that are given."""
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Levels that quantile families predict."""
    seeds: tuple[int, ...] = Field((42,), min_length=1)
    """Each fit is done once per seed; forecasts of several seeds are averaged."""
    weights: WeightsConfig | None = None
    """How much training rows count, by regime; equally when not given."""
    budget_s: float | None = Field(None, gt=0)
    """Seconds that a fit may take; then it stops at its next safe point and keeps what it has learned."""
    gates: GatesConfig = GatesConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    correlations: CorrelationsConfig | None = None
    """What the report shows of how columns move together."""
    tune: TuneConfig = TuneConfig()
    """How `raytrain.jobs.tune` searches."""
    cluster: ClusterConfig = ClusterConfig()
    keep_bundles: int = Field(10, ge=1)
    """Newest runs whose bundles stay in the store; those to which promotions can come back always do."""
    tracking: TrackingConfig = TrackingConfig()

    @classmethod
    def underlay(cls, values: Mapping[str, Any]) -> Path | None:
        name, folder = (values.get(key, cls.model_fields[key].default) for key in ("preset", "presets"))
        # The defaults are the balanced ones; an adaptive preset is chosen when the data is known.
        given = "preset" in values and name != ADAPTIVE
        return preset_file(str(name), Path(folder)) if given else None

    @field_validator("quantiles")
    @classmethod
    def _rising_levels(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        rising = all(low < high for low, high in pairwise(levels))
        if not levels or not rising or not 0 < levels[0] or not levels[-1] < 1 or 0.5 not in levels:
            raise ValueError("must rise, lie between 0 and 1 and contain 0.5")
        return levels

    @model_validator(mode="after")
    def _budget_ends_first(self) -> Self:
        if self.budget_s is not None and self.budget_s >= self.cluster.timeout_s:
            raise ValueError(
                f"`budget_s` ({self.budget_s:g}) must be below cluster.timeout_s ({self.cluster.timeout_s:g}): a fit "
                "should end gracefully before it is killed"
            )
        return self

    @model_validator(mode="after")
    def _targets_differ(self) -> Self:
        names = [target.name for target in self.targets]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"each target needs a label of its own, got {', '.join(sorted(twice))} twice in `targets`")
        return self


def adapt(config: RunConfig, rows: int, memory_gb: float) -> tuple[RunConfig, str]:
    """The config over the preset that suits the data, the machine and the time left, and what was chosen and why."""
    now = datetime.now()
    left = None if config.stop_by is None else next_time(config.stop_by, now) - now
    name, why = choose_preset(rows, memory_gb, left)
    given = config.model_dump(exclude_unset=True) | {"preset": name}
    chosen = RunConfig.model_validate(lay_under(preset_file(name, config.presets), given))
    return chosen, f"the adaptive preset is {name}: {why}"


def with_tuned(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """The config over the parameters that searches recommend, when it asks for them, and where they come from.

    Raises:
        ConfigError: a recommendation is no longer valid for its family.
        StoreCorrupt: a recommendation cannot be read.
    """
    if not config.tuned:
        return config, []
    found, notes = tuned_params(config.store, config.families, [target.name for target in config.targets])
    params = {name: {**found.get(name, {}), **config.params.get(name, {})} for name in {**found, **config.params}}
    return config.model_copy(update={"params": params}), notes or ["no search has recommended parameters yet"]


def recipes_of(config: RunConfig, slot_device: Device) -> Recipes:
    """What is fitted on each fold.

    Raises:
        ConfigError: an unknown family, parameter, target or plan.
    """
    today = TrainingPlan()
    if found := TrainingPlan.find(config.plan, config.plans):
        today, path = found
        today.check([target.name for target in config.targets], path)
    return Recipes.make(
        config.families,
        config.params,
        targets=config.targets,
        quantiles=config.quantiles,
        seeds=config.seeds,
        slot_device=slot_device,
        budget_s=config.budget_s,
        keras_backend=config.cluster.keras_backend,
        today=today,
    )
