"""Run one fit in this process."""

import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain import __version__, families
from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import Family, FitContext, Params, never
from raytrain.engines.members import MemberFamily
from raytrain.errors import FitError
from raytrain.folds import test_rows
from raytrain.work.dataset import Dataset
from raytrain.work.inputs import POSITION, Inputs, MemberInputs, forecast_columns
from raytrain.work.meter import Meter
from raytrain.work.models import POOLED, Kept, ModelStore, Trained
from raytrain.work.preparation import Preparation
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

TARGET = "target"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a fit took."""

    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    """Largest resident memory of the process while it ran, the engine included."""
    threads: int
    device: str
    train_rows: int
    features: int
    slept: bool = False
    """Whether the machine slept meanwhile; then the times teach nothing."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A finished fit."""

    predictions: pl.DataFrame
    """target, series_id, date, then one column per quantile, or `probability`, in the target's own unit; `position` of
    families that take positions."""
    cost: Cost
    stopped: bool
    """Whether the fit was asked to stop before it was done."""
    cut_short: bool = False
    """Whether its own time was used up first: a result like any other, of what was learned until then."""
    trained_before: Mapping[str, Any] | None = None
    """What the fit took that has trained the model, where a kept one was used; None where this fit has trained it."""
    dataset: str = ""
    """Name of the dataset that it saw."""

    def facts(self, spec: FitSpec) -> dict[str, Any]:
        """What `result.json` keeps; `cost` is what training takes, `spent` what this fit took."""
        environment = {"raytrain": __version__, "python": platform.python_version(), "host": socket.gethostname()}
        return {
            "key": spec.key,
            "spec": spec.to_dict(),
            "cost": asdict(self.cost) if self.trained_before is None else dict(self.trained_before),
            "spent": asdict(self.cost),
            "reused_model": self.trained_before is not None,
            "dataset": self.dataset,
            "stored_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "cut_short": self.cut_short,
            "environment": environment | dict(spec.packages),
        }


@dataclass
class Progress:
    """Where a fit is, readable from another thread and after a failure."""

    phase: str = "load"
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Control:
    """How the world steers a running fit."""

    threads: int = 1
    should_stop: Callable[[], bool] = never
    progress: Progress = field(default_factory=Progress)
    checkpoint: Path | None = None
    """Where a fit that is stopped may leave its state, and find it again."""


def run_fit(spec: FitSpec, dataset: Dataset, control: Control, store: ResultStore | None = None) -> FitResult:
    """Train, or take a model that was trained on the same rows before, and predict the test block.

    Args:
        spec: the fit.
        dataset: what it sees.
        control: how the world steers it.
        store: where the results are that an ensemble reads, and the models of blocks that are still open. Without one
            nothing is kept.

    Raises:
        FitError: nothing to train on or to predict, or the family cannot learn from these rows.
        Exception: whatever the library raises; `control.progress.phase` says where.
    """
    budget = _Budget(spec.budget_s, control.should_stop)
    fit = _Fit(
        spec=spec,
        params=families.get(spec.family).params_type.model_validate_json(spec.params),
        dataset=dataset,
        control=replace(control, should_stop=budget.is_spent),
        store=store,
    )
    with Meter() as meter:
        parts = fit.run()
    cost = Cost(
        wall_s=meter.wall_s,
        cpu_s=meter.cpu_s,
        peak_memory_bytes=meter.peak_memory_bytes,
        threads=control.threads,
        device=spec.device,
        train_rows=sum(part.num_rows for part in parts),
        features=dataset.x.shape[1],
        slept=meter.slept,
    )
    before = next((part.kept for part in parts if part.kept), None)
    result = FitResult(
        predictions=pl.concat(part.predictions for part in parts),
        cost=cost,
        stopped=budget.stopped,
        cut_short=budget.ran_out or any(part.kept.facts["cut_short"] for part in parts if part.kept),
        trained_before=before.facts["cost"] if before else None,
        dataset=dataset.name,
    )
    if not result.stopped and is_open(spec, dataset):
        fit.keep(parts, result)
    return result


def is_open(spec: FitSpec, dataset: Dataset) -> bool:
    """Whether tomorrow's rows may still fall into the fit's test block."""
    return bool(spec.fold.test_end > dataset.date.max())


class _Budget:
    """Tells a fit to stop when somebody asks, or when its time is used up."""

    def __init__(self, seconds: float | None, stop_asked: Callable[[], bool]) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds
        self._stop_asked = stop_asked
        self.stopped = False
        """Somebody asked the fit to stop."""
        self.ran_out = False
        """The fit's own time was used up before it was done."""

    def is_spent(self) -> bool:
        """Asked by the family at each safe point."""
        self.stopped = self.stopped or self._stop_asked()
        self.ran_out = self.ran_out or (self._until is not None and time.monotonic() >= self._until)
        return self.stopped or self.ran_out


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One model of a fit, and what it forecasts."""

    name: str
    num_rows: int
    """Rows that the model was trained on."""
    predictions: pl.DataFrame
    kept: Kept | None
    """The model, where it was trained before."""
    trained: Trained | None
    """The model, where it was trained now and can be kept."""


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """One fit under way."""

    spec: FitSpec
    params: Params
    dataset: Dataset
    control: Control
    store: ResultStore | None

    def run(self) -> list[_Part]:
        """The model of all series, or one for each series of the test block when the family is told so."""
        if self.params.scope == "pooled":
            return [self._part(POOLED, None)]
        test = self.dataset.series[test_rows(self.spec.fold, self.dataset.date)]
        if not len(test):
            raise FitError(f"{self.spec.label}: a fit needs rows to predict, got none; start the folds earlier")
        return [self._of_series(int(code)) for code in np.unique(test)]

    def keep(self, parts: Sequence[_Part], result: FitResult) -> None:
        """Keep what was trained now, for the rows to come."""
        facts = {"cost": result.trained_before or asdict(result.cost), "cut_short": result.cut_short}
        for part in parts:
            if part.trained is not None and self._models is not None:
                self._models.keep(self.spec.train_key, part.name, part.trained, facts)

    @cached_property
    def _models(self) -> ModelStore | None:
        """Where models are kept; a mixture of forecasts is not."""
        return None if self.store is None or not self.spec.train_key else ModelStore(self.store.root)

    def _of_series(self, code: int) -> _Part:
        checkpoint = self.control.checkpoint and self.control.checkpoint / str(code)
        alone = replace(self, control=replace(self.control, checkpoint=checkpoint))
        return alone._part(str(code), np.asarray(self.dataset.series == code))

    def _part(self, name: str, among: NDArray[np.bool_] | None) -> _Part:
        """One model: trained on the rows `among` these, or on all, unless it was before."""
        progress = self.control.progress
        progress.phase = "preprocess"
        kept = None if self._models is None else self._models.find(self.spec.train_key, name)
        inputs = self._inputs(among, kept.preparation if kept else None)
        family = self._load(kept) if kept else self._train(inputs)
        progress.phase = "predict"
        samples = inputs.samples(inputs.test)
        table = _as_table(inputs.unscale(family.predict(samples), inputs.test), inputs.test, self.dataset, self.spec)
        position = family.positions(inputs.samples(inputs.test))
        trained = None
        if not kept and isinstance(inputs, Inputs):
            trained = Trained(model=family, preparation=inputs.preparation, num_rows=len(inputs.train))
        return _Part(
            name=name,
            num_rows=kept.num_rows if kept else len(inputs.train),
            predictions=table if position is None else table.with_columns(pl.Series(POSITION, position)),
            kept=kept,
            trained=trained,
        )

    def _load(self, kept: Kept) -> Family[Any]:
        family = families.get(self.spec.family)
        self.control.progress.phase = "load"
        family.set_up(self._context())
        return family.load(kept.folder)

    def _train(self, inputs: Inputs | MemberInputs) -> Family[Any]:
        data, family = inputs.training_data(), families.get(self.spec.family)(self.params)
        self.control.progress.phase = "fit"
        if data is not None:
            return family.fit(data, self._context())
        assert isinstance(family, MemberFamily)
        return family.untrained()

    def _inputs(self, among: NDArray[np.bool_] | None, preparation: Preparation | None) -> Inputs | MemberInputs:
        family = families.get(self.spec.family)
        if issubclass(family, MemberFamily):
            assert self.store is not None, "an ensemble reads results"
            return MemberInputs.make(family, self.params, self.dataset, self.spec, store=self.store, among=among)
        return Inputs.make(family, self.params, self.dataset, self.spec, among, preparation=preparation)

    def _context(self) -> FitContext:
        spec, control, meta = self.spec, self.control, self.dataset.meta
        return FitContext(
            task=spec.task,
            quantiles=spec.quantiles,
            horizons=tuple(target.horizon for target in spec.targets),
            features=tuple(meta["features"]),
            categorical=tuple(self.dataset.categorical),
            known=tuple(meta["known"]),
            seed=spec.seed,
            threads=control.threads,
            device=spec.device,
            should_stop=control.should_stop,
            progress=lambda share: setattr(control.progress, "share", share),
            checkpoint=control.checkpoint,
        )


def _as_table(values: NDArray[np.float32], rows: NDArray[np.int64], dataset: Dataset, spec: FitSpec) -> pl.DataFrame:
    """The columns of `FitResult.predictions`; target after target when there are several."""
    family = families.get(spec.family)
    columns = forecast_columns(family, spec)
    names = spec.target_names
    if values.shape != (len(rows), len(names), len(columns)):
        raise FitError(f"{family.name} must predict {(len(rows), len(names), len(columns))} values, got {values.shape}")
    if not np.isfinite(values).all():
        raise FitError(f"{family.name} must predict finite values, got {int((~np.isfinite(values)).sum())} others")
    series = np.asarray(dataset.meta["series"])[dataset.series[rows]]
    date = pl.Series(dataset.date[rows]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
    return pl.concat(
        pl.DataFrame(
            {SERIES: series, DATE: date} | {name: values[:, output, at] for at, name in enumerate(columns)}
        ).select(pl.lit(target).alias(TARGET), pl.all())
        for output, target in enumerate(names)
    )
