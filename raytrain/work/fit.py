"""Run one fit in this process."""

import platform
import resource
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl
import psutil
from numpy.typing import NDArray

from raytrain import __version__, families
from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import Family, FitContext, FitData, Samples, never, output_quantiles
from raytrain.errors import FitError
from raytrain.features.preprocess import Preprocess
from raytrain.features.windows import Windows, ends_with_history
from raytrain.folds import test_rows
from raytrain.work.dataset import Dataset
from raytrain.work.spec import FitSpec

PROBABILITY = "probability"


def quantile_column(level: float) -> str:
    """The column that holds a quantile: `q0.1`."""
    return f"q{level:g}"


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
    """series_id, date, then one column per quantile, or `probability`: forward returns in the target's own unit."""
    cost: Cost
    stopped: bool
    """Whether the fit was asked to stop before it was done."""

    def facts(self, spec: FitSpec) -> dict[str, Any]:
        """What `result.json` keeps."""
        environment = {"raytrain": __version__, "python": platform.python_version(), "host": socket.gethostname()}
        return {
            "key": spec.key,
            "spec": spec.to_dict(),
            "cost": asdict(self.cost),
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


def run_fit(spec: FitSpec, dataset: Dataset, control: Control) -> FitResult:
    """Train and predict the test block.

    Raises:
        FitError: nothing to train on or to predict, or the family cannot learn from these rows.
        Exception: whatever the library raises; `control.progress.phase` says where.
    """
    with _Meter() as meter:
        trained_on, predictions, stopped = _fit_and_predict(spec, dataset, control)
    cost = Cost(
        wall_s=meter.wall_s,
        cpu_s=meter.cpu_s,
        peak_memory_bytes=meter.peak_memory_bytes,
        threads=control.threads,
        device=spec.device,
        train_rows=trained_on,
        features=dataset.x.shape[1],
    )
    return FitResult(predictions=predictions, cost=cost, stopped=stopped)


def _fit_and_predict(spec: FitSpec, dataset: Dataset, control: Control) -> tuple[int, pl.DataFrame, bool]:
    progress = control.progress
    family_type = families.get(spec.family)
    params = family_type.params_type.model_validate_json(spec.params)
    context = FitContext(
        task=spec.task,
        quantiles=spec.quantiles,
        seed=spec.seed,
        threads=control.threads,
        device=spec.device,
        should_stop=control.should_stop,
        progress=lambda share: setattr(progress, "share", share),
    )
    progress.phase = "preprocess"
    inputs = Inputs.make(family_type, params, dataset, spec)
    data = inputs.training_data()
    progress.phase = "fit"
    family = family_type(params).fit(data, context)
    stopped = control.should_stop()
    progress.phase = "predict"
    values = inputs.unscale(family.predict(inputs.samples(inputs.test)))
    return len(data.y), _as_table(values, inputs, family_type, context), stopped


@dataclass(frozen=True)
class Inputs:
    """The rows a fit trains on and predicts, in the form its family wants."""

    dataset: Dataset
    target: str
    steps: int
    """Rows in a window; 0 for a family that sees one row at a time."""
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    preprocess: Preprocess | None
    y_scale: float

    @classmethod
    def make(cls, family: type[Family[Any]], params: Any, dataset: Dataset, spec: FitSpec) -> "Inputs":
        """Choose the rows; scale with what the training rows tell.

        Raises:
            FitError: no row to train on or to predict.
        """
        steps = family.steps(params)
        whole = dataset.usable & ends_with_history(dataset.series, steps) & _usable_from(dataset, steps)
        train = np.flatnonzero(whole & dataset.train_rows(spec.fold, spec.target))
        test = np.flatnonzero(whole & test_rows(spec.fold, dataset.date))
        if len(train) == 0 or len(test) == 0:
            raise FitError(
                f"{spec.label}: a fit needs rows to train on and to predict, got {len(train)} and {len(test)} with "
                f"{steps} row(s) of look-back; lower the window, or start the folds later"
            )
        y_scale = 1.0
        if family.scaled and spec.task == "regression":
            y_scale = float(np.std(dataset.y(spec.target)[train], dtype=np.float64)) or 1.0
        return cls(
            dataset=dataset,
            target=spec.target,
            steps=steps if family.inputs == "windows" else 0,
            train=train,
            test=test,
            preprocess=_fit_preprocess(dataset, train, scaled=family.scaled),
            y_scale=y_scale,
        )

    def samples(self, rows: NDArray[np.int64]) -> Samples:
        """Model inputs for these rows; windows stay in the dataset until they are asked for."""
        if self.steps:
            return Windows(self.dataset.x, rows, self.steps, self.preprocess)
        chosen = self.dataset.x[rows]
        return chosen if self.preprocess is None else self.preprocess.apply_in_place(chosen)

    def training_data(self) -> FitData:
        """The training rows."""
        rows = self.train
        y = np.asarray(self.dataset.y(self.target)[rows])[:, None]
        return FitData(
            x=self.samples(rows),
            y=np.asarray(y / self.y_scale if self.y_scale != 1.0 else y, dtype=np.float32),
            weight=np.ones(len(rows), dtype=np.float32),
            date=self.dataset.date[rows],
            label_date=self.dataset.label_date(self.target)[rows],
        )

    def unscale(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions in the target's own unit."""
        return values * np.float32(self.y_scale) if self.y_scale != 1.0 else values


def _fit_preprocess(dataset: Dataset, train: NDArray[np.int64], *, scaled: bool) -> Preprocess | None:
    """What the inputs go through; None for nothing."""
    categorical = dataset.categorical
    if scaled:
        return Preprocess.fit(dataset.x, train, dataset.preprocess, categorical)
    return Preprocess.fit_codes(dataset.x, train, categorical) if categorical else None


def _usable_from(dataset: Dataset, steps: int) -> NDArray[np.bool_]:
    """Rows whose whole window lies behind the warm-up."""
    if steps == 1:
        return dataset.usable
    first = np.zeros(len(dataset.usable), dtype=bool)
    if steps <= len(first):
        first[steps - 1 :] = dataset.usable[: len(first) - steps + 1]
    return first


def _as_table(
    values: NDArray[np.float32], inputs: Inputs, family: type[Family[Any]], context: FitContext
) -> pl.DataFrame:
    levels = output_quantiles(family, context)
    if values.shape != (len(inputs.test), 1, len(levels)):
        raise FitError(f"{family.name} must predict {(len(inputs.test), 1, len(levels))} values, got {values.shape}")
    if not np.isfinite(values).all():
        raise FitError(f"{family.name} must predict finite values, got {int((~np.isfinite(values)).sum())} others")
    names = [PROBABILITY] if context.task == "binary" else [quantile_column(level) for level in levels]
    series = np.asarray(inputs.dataset.meta["series"])[inputs.dataset.series[inputs.test]]
    columns = {name: values[:, 0, index] for index, name in enumerate(names)}
    date = pl.Series(inputs.dataset.date[inputs.test]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
    return pl.DataFrame({SERIES: series, DATE: date, **columns})


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
