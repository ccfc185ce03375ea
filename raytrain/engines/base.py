"""The Family contract: what every kind of model offers, whatever library it is made of.

Importing this module, and the module of any family, loads no engine: the libraries are imported inside `fit`,
`predict`, `save` and `load`, which run in a worker process of the right kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from raytrain.errors import FitError
from raytrain.features.volatility import VolatilityKind

Engine = Literal["native", "torch", "keras"]
Lane = Literal["cores", "slot"]
Inputs = Literal["rows", "windows", "history", "members"]
"""What a family reads of each row: its features (`rows`), the features of the last `steps` rows (`windows`), those and
the path of prices and what is known in advance (`history`, see `raytrain.features.history`), or what other families
forecast for it out of fold (`members`)."""
Task = Literal["regression", "binary"]
Device = Literal["cpu", "mps", "cuda"]

FloatArray = NDArray[np.float32]
RowIndices = NDArray[np.intp]


class Params(BaseModel):
    """Parameters of a family: frozen, keyword-only; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)
    scope: Literal["pooled", "series"] = "pooled"
    """One model for all series, or one for each."""
    scale: VolatilityKind = "none"
    """The volatility forecast that targets are divided by and predictions multiplied with; not for binary targets."""


P = TypeVar("P", bound=Params)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of one fit."""

    rows: int
    """Training rows."""
    features: int
    """Columns of the feature table."""
    steps: int = 1
    """Rows in a window; 1 for a family that sees one row at a time."""
    outputs: int = 1
    """Targets predicted together."""
    quantiles: int = 1
    """Quantile levels asked for."""

    @property
    def table_bytes(self) -> int:
        """The feature table of the training rows as float32."""
        return 4 * self.rows * self.features


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one fit asks of the machine."""

    max_threads: int = 1
    """More threads than this do not make it faster."""
    memory_bytes: int
    """Peak resident memory of the process beyond what the bare engine takes."""
    work: float
    """Predicted CPU seconds on one thread: an honest prior, replaced by what was measured."""


class Samples(Protocol):
    """Inputs that can be indexed by row: an array (n, features), or windows (n, steps, features) made on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> FloatArray: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, kw_only=True)
class FitData:
    """The training rows of one fit, ordered by series, then date.

    Raises:
        FitError: `y` or `weight` is not finite, a weight is negative, or there is no row.
    """

    x: Samples
    """(n, features) float32, or windows (n, steps, features); NaN where a feature is unknown, unless the family
    asked for scaled inputs, which have no NaN."""
    y: FloatArray
    """(n, outputs): forward returns (divided by their training deviation for families with `scaled`), or 0/1."""
    weight: FloatArray
    """(n,) at least 0; 1 everywhere when nobody asked for weights."""
    date: NDArray[np.int64]
    """(n,) the row's date, in nanoseconds since 1970."""
    label_date: NDArray[np.int64]
    """(n,) the date on which `y` became known: all of its outputs."""
    series: NDArray[np.int32]
    """(n,) which series the row belongs to."""

    def __post_init__(self) -> None:
        if len(self.y) == 0:
            raise FitError("a fit needs at least 1 training row, got 0; start the first fold later")
        if not np.isfinite(self.y).all():
            raise FitError(f"the target must be finite, got {int((~np.isfinite(self.y)).sum())} NaN or infinite values")
        if not np.isfinite(self.weight).all() or (self.weight < 0).any() or not self.weight.any():
            raise FitError("weights must be finite and at least 0, and not all 0")

    def take(self, rows: NDArray[Any]) -> "FitData":
        """The chosen rows (indices or a mask), in order."""
        return replace(
            self,
            x=self.x[rows],
            y=self.y[rows],
            weight=self.weight[rows],
            date=self.date[rows],
            label_date=self.label_date[rows],
            series=self.series[rows],
        )

    def head_and_tail(self, share: float) -> "tuple[RowIndices, RowIndices] | None":
        """Keep the newest `share` of the dates aside for early stopping.

        The head keeps only rows whose label was known before the tail begins, so that the tail is unseen. Rows of
        weight 0 are in neither.

        Returns:
            Row indices of the head and of the tail (indices, because windows are made per batch and never as a
            whole); None when either side would be empty.
        """
        counts = self.weight > 0
        dates = np.unique(self.date[counts])
        first = dates[min(len(dates) - 1, int(len(dates) * (1 - share)))]
        tail = np.flatnonzero(counts & (self.date >= first))
        head = np.flatnonzero(counts & (self.label_date < first))
        return (head, tail) if len(head) and len(tail) else None


def never() -> bool:
    """The `should_stop` of a fit that nobody stops."""
    return False


def unheard(share: float) -> None:
    """The `progress` of a fit that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """What a fit may use and must obey."""

    task: Task = "regression"
    quantiles: tuple[float, ...] = (0.5,)
    """Rising levels in (0, 1). A family that cannot give quantiles predicts one value, for 0.5."""
    horizons: tuple[int, ...] = (1,)
    """Rows ahead of each output."""
    features: tuple[str, ...] = ()
    """Names of the feature columns; empty where nobody named them."""
    categorical: tuple[int, ...] = ()
    """Feature columns that hold codes, counted from 1; 0 stands for a category that training has not seen."""
    known: tuple[int, ...] = ()
    """Feature columns whose future values are known in advance."""
    seed: int = 42
    threads: int = 1
    """Threads the fit may keep busy; the library's own setting must be given it."""
    device: Device = "cpu"
    should_stop: Callable[[], bool] = never
    """Asked at each safe point (boosting iteration, batch): True means stop now and keep what is learned."""
    progress: Callable[[float], None] = unheard
    """Told the share done, 0 to 1."""
    checkpoint: Path | None = field(default=None)
    """A folder to keep a resumable state in when the fit is stopped, and to go on from when there is one. A family that
    cannot go on to the same result leaves it alone and starts afresh."""


@dataclass(frozen=True)
class Range:
    """A search interval, ends included; `log` samples the logarithm."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


Space = Mapping[str, Range | Sequence[Any]]
"""Search space: parameter name -> interval or list of choices."""


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """A trained model as a graph that runs without its library."""

    content: bytes
    """A serialised ONNX model: input `x`, (n, features) or windows (n, steps, features) float32; output `y`,
    (n, outputs, levels), which need not rise, or (n, outputs, 1) probabilities. n is free."""
    calibration: Mapping[str, Any] | None = None
    """What the probabilities go through afterwards, as `engines.platt.Platt.from_json` reads it; None for nothing."""


class Family(ABC, Generic[P]):
    """A kind of model. A subclass is one file in `raytrain/families/`, named like the family."""

    name: ClassVar[str]
    engine: ClassVar[Engine]
    lane: ClassVar[Lane]
    params_type: ClassVar[type[Params]]
    inputs: ClassVar[Inputs] = "rows"
    scaled: ClassVar[bool] = False
    """Whether inputs come imputed and scaled, and the target divided by its training deviation."""
    gives_quantiles: ClassVar[bool] = False
    multi_output: ClassVar[bool] = False
    """Whether one fit forecasts all targets of a task together."""
    tasks: ClassVar[frozenset[Task]] = frozenset({"regression"})
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose version is part of a fit's key."""
    version: ClassVar[int] = 1
    """Raised when the family would give other numbers for the same input."""
    no_onnx: ClassVar[str] = "it is a formula that numpy computes: there is nothing to convert"
    """Why there is no ONNX graph, of a family without `to_onnx`."""

    def __init__(self, params: P) -> None:
        self.params = params

    @classmethod
    @abstractmethod
    def needs(cls, params: P, shape: Shape) -> Needs:
        """What a fit of this shape asks of the machine; computed without the engine."""

    @classmethod
    def space(cls) -> Space:
        """What a search varies; empty when there is nothing worth searching."""
        return {}

    @classmethod
    def steps(cls, params: P) -> int:
        """Rows in a window; 1 for families that see one row at a time."""
        return 1

    @classmethod
    def set_up(cls, context: FitContext) -> None:
        """Cap the library's threads and make it deterministic, before `load` in a process; `fit` does so itself."""

    @abstractmethod
    def fit(self, data: FitData, context: FitContext) -> Self:
        """Learn from the training rows.

        Raises:
            FitError: the rows cannot be learned from (one class only, a loss that became NaN, ...).
            OutOfMemory: the fit did not fit.
        """

    @abstractmethod
    def predict(self, x: Samples) -> FloatArray:
        """Predict each row.

        Returns:
            (n, outputs, quantiles), rising along the last axis. (n, outputs, 1) for the median of a point family and
            for the probability of a binary target.
        """

    def positions(self, x: Samples) -> FloatArray | None:
        """(n,) positions in [-1, 1] for each row, of a family that learns what to hold; None of all others.

        They are what its strategy is judged by, in place of the sign of the median.
        """
        return None

    def to_onnx(self, x: FloatArray) -> OnnxModel | str:
        """The fitted model as a graph, or the reason why there is none.

        Args:
            x: a few inputs, from which a converter may read shapes.
        """
        return self.no_onnx

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted model into an empty folder, without pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; predictions are equal to the bit."""


def output_quantiles(family: type[Family[Any]], context: FitContext) -> tuple[float, ...]:
    """The levels along the last axis of `predict`; (0.5,) stands for a probability under a binary task."""
    return context.quantiles if family.gives_quantiles and context.task == "regression" else (0.5,)
