"""Run one fit in this process."""

import platform
import resource
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from numpy.typing import NDArray

from raytrain import __version__, families
from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import FitContext, Params, never
from raytrain.engines.members import MemberFamily
from raytrain.errors import FitError
from raytrain.folds import test_rows
from raytrain.work.dataset import Dataset
from raytrain.work.inputs import POSITION, Inputs, MemberInputs, forecast_columns
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

    def facts(self, spec: FitSpec) -> dict[str, Any]:
        """What `result.json` keeps."""
        environment = {"raytrain": __version__, "python": platform.python_version(), "host": socket.gethostname()}
        return {
            "key": spec.key,
            "spec": spec.to_dict(),
            "cost": asdict(self.cost),
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
    """Train and predict the test block.

    Args:
        spec: the fit.
        dataset: what it sees.
        control: how the world steers it.
        store: where the results are that an ensemble reads; other families need none.

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
    with _Meter() as meter:
        trained_on, predictions = fit.run()
    cost = Cost(
        wall_s=meter.wall_s,
        cpu_s=meter.cpu_s,
        peak_memory_bytes=meter.peak_memory_bytes,
        threads=control.threads,
        device=spec.device,
        train_rows=trained_on,
        features=dataset.x.shape[1],
    )
    return FitResult(predictions=predictions, cost=cost, stopped=budget.stopped, cut_short=budget.ran_out)


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
class _Fit:
    """One fit under way."""

    spec: FitSpec
    params: Params
    dataset: Dataset
    control: Control
    store: ResultStore | None

    def run(self) -> tuple[int, pl.DataFrame]:
        """Rows trained on, and the predictions of the test block; of each series apart when the family is told so."""
        if self.params.scope == "pooled":
            return self._part(None)
        test = self.dataset.series[test_rows(self.spec.fold, self.dataset.date)]
        if not len(test):
            raise FitError(f"{self.spec.label}: a fit needs rows to predict, got none; start the folds earlier")
        parts = [self._of_series(int(code)) for code in np.unique(test)]
        return sum(rows for rows, _ in parts), pl.concat(predictions for _, predictions in parts)

    def _of_series(self, code: int) -> tuple[int, pl.DataFrame]:
        checkpoint = self.control.checkpoint and self.control.checkpoint / str(code)
        alone = replace(self, control=replace(self.control, checkpoint=checkpoint))
        return alone._part(np.asarray(self.dataset.series == code))

    def _part(self, among: NDArray[np.bool_] | None) -> tuple[int, pl.DataFrame]:
        """One model: trained on the rows `among` these, or on all."""
        progress = self.control.progress
        progress.phase = "preprocess"
        inputs = self._inputs(among)
        data, family = inputs.training_data(), families.get(self.spec.family)(self.params)
        progress.phase = "fit"
        if data is not None:
            family = family.fit(data, self._context())
        elif isinstance(family, MemberFamily):
            family = family.untrained()
        progress.phase = "predict"
        values = inputs.unscale(family.predict(inputs.samples(inputs.test)), inputs.test)
        table = _as_table(values, inputs.test, self.dataset, self.spec)
        position = family.positions(inputs.samples(inputs.test))
        return len(inputs.train), table if position is None else table.with_columns(pl.Series(POSITION, position))

    def _inputs(self, among: NDArray[np.bool_] | None) -> Inputs | MemberInputs:
        family = families.get(self.spec.family)
        if issubclass(family, MemberFamily):
            assert self.store is not None, "an ensemble reads results"
            return MemberInputs.make(family, self.params, self.dataset, self.spec, store=self.store, among=among)
        return Inputs.make(family, self.params, self.dataset, self.spec, among)

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


class _Meter:
    """Wall clock, CPU time of all threads and peak resident memory of what runs inside the `with`."""

    wall_s = 0.0
    cpu_s = 0.0
    peak_memory_bytes = 0

    def __enter__(self) -> "_Meter":
        self._process = psutil.Process()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._wall
        self.cpu_s = _cpu_seconds() - self._cpu
        self._done.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._look()

    def _look(self) -> None:
        self.peak_memory_bytes = max(self.peak_memory_bytes, self._process.memory_info().rss)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
