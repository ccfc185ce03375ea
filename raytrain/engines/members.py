"""What families share that mix the out-of-fold forecasts of others: weights of at least 0 that sum to 1."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Params, RowIndices, Samples, Task
from raytrain.engines.training import log_loss, teaching_rows
from raytrain.errors import FitError

Floats = NDArray[np.float64]


class MemberParams(Params):
    """Whose forecasts are mixed, and when learned weights are trusted."""

    scale: Literal["none"] = "none"
    """Members forecast in the target's own unit, so nothing is divided."""
    members: tuple[str, ...] = Field(("har", "gjr", "lightgbm_quantile"), min_length=1)
    """Families whose quantiles are mixed; they are fitted in the same run."""
    binary_members: tuple[str, ...] = ("lightgbm", "xgboost", "ngboost")
    """Families whose probabilities are mixed under a binary target; without any, such a target is left out."""
    weights: Literal["equal", "learned", "auto"] = "auto"
    """`equal` for all members, `learned` out of fold, or `auto`: learned where they beat equal ones on newer rows."""
    margin: float = Field(0.001, ge=0, lt=1)
    """By which share of the equal mixture's loss learned weights must beat it there, for `auto`. Unlike members are
    worth nearly the same, and the error of learned weights costs more than they gain (Claeskens et al. 2016)."""
    valid_share: float = Field(0.3, gt=0, le=0.5)
    """Newest share of the dates with forecasts and labels that is kept aside for that comparison."""

    def members_for(self, task: Task) -> tuple[str, ...]:
        """The families that are mixed under a task."""
        return self.binary_members if task == "binary" else self.members


M = TypeVar("M", bound=MemberParams)


@dataclass(frozen=True)
class MemberSamples:
    """What the members forecast for each row, and the features that tell the regime."""

    forecasts: FloatArray
    """(n, members, levels), rising along the last axis, or (n, members, 1) probabilities; no NaN."""
    features: FloatArray
    """(n, k), NaN where unknown."""

    @classmethod
    def of(cls, x: Samples, rows: RowIndices | slice = slice(None)) -> Self:
        """The chosen rows; a plain array of forecasts comes without features."""
        features = x.features if isinstance(x, MemberSamples) else np.empty((len(x), 0), dtype=np.float32)
        return cls(x[rows], features[rows])

    def __len__(self) -> int:
        return len(self.forecasts)

    def __getitem__(self, rows: Any, /) -> FloatArray:
        """The chosen rows' forecasts (k, members, levels)."""
        chosen: FloatArray = self.forecasts[rows]
        return chosen

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, members, levels)."""
        return self.forecasts.shape


@dataclass(frozen=True)
class Lesson:
    """Forecasts beside what happened."""

    x: MemberSamples
    y: Floats
    """(n, 1)."""
    weight: Floats
    """(n,), sum 1."""
    levels: Floats | None
    """Quantile levels; None for a probability."""

    @classmethod
    def of(cls, data: FitData, rows: RowIndices, context: FitContext) -> Self:
        """The chosen training rows.

        Raises:
            FitError: a forecast is not finite.
        """
        x = MemberSamples.of(data.x, rows)
        if not np.isfinite(x.forecasts).all():
            raise FitError(f"members' forecasts must be finite, got {int((~np.isfinite(x.forecasts)).sum())} others")
        weight = data.weight[rows].astype(np.float64)
        levels = None if context.task == "binary" else np.array(context.quantiles)
        return cls(x, data.y[rows].astype(np.float64), weight / weight.sum(), levels)

    def loss(self, mixed: Floats) -> float:
        """Mean pinball loss of (n, levels) quantiles, or cross entropy of (n, 1) probabilities; lower is better."""
        if self.levels is None:
            loss = log_loss(self.y, mixed)
        else:
            error = self.y - mixed
            loss = np.maximum(self.levels * error, (self.levels - 1) * error)
        return float(np.average(loss.mean(axis=1), weights=self.weight))

    @cached_property
    def unit(self) -> float:
        """The equal mixture's loss, in which others are counted; 1 if it is 0."""
        return self.loss(mix(self.x.forecasts, equal_weights(self.x))) or 1.0

    def slope(self, mixed: Floats) -> Floats:
        """(n, levels) how `loss` changes with each mixed value."""
        if self.levels is None:
            probability = np.clip(mixed, 1e-7, 1 - 1e-7)
            slope = (probability - self.y) / (probability * (1 - probability))
        else:
            slope = (mixed > self.y) - self.levels
        return np.asarray(slope * self.weight[:, None] / mixed.shape[1])


def mix(forecasts: FloatArray, weights: Floats) -> Floats:
    """(n, levels) the weighted mean over members; quantiles are averaged level by level (Vincent 1912).

    Args:
        forecasts: (n, members, levels).
        weights: (n, members).
    """
    # einsum calls no BLAS, whose threads nobody caps inside a process and whose sums depend on their number.
    return np.asarray(np.einsum("nml,nm->nl", forecasts, weights, dtype=np.float64))


class MemberFamily(Family[M]):
    """Mixes forecasts; a subclass says how weights are learned."""

    engine = "native"
    lane = "cores"
    inputs = "members"
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})
    no_onnx = "it mixes what its members forecast, each of which may have a graph of its own"

    @classmethod
    def regime_features(cls, params: M) -> tuple[str, ...]:
        """Patterns of the names of the features that it reads beside the forecasts."""
        return ()

    @abstractmethod
    def _learn(self, lesson: Lesson, context: FitContext) -> None:
        """Learn weights."""

    @abstractmethod
    def _forget(self) -> None:
        """Go back to equal weights."""

    @abstractmethod
    def _weights(self, x: MemberSamples) -> Floats:
        """(n, members) the weight of each member on each row."""

    def untrained(self) -> Self:
        """The equal mixture: what there is on the first fold, where no member has forecast anything before."""
        self._forget()
        return self

    def fit(self, data: FitData, context: FitContext) -> Self:
        """Learn from out-of-fold forecasts and what happened since; see `MemberParams.weights`."""
        if data.y.shape[1] != 1:
            raise FitError(f"{self.name} mixes forecasts of one target, got {data.y.shape[1]}; plan one fit for each")
        rows, _ = teaching_rows(data, context, self.tasks, valid_share=0)
        weights = self.params.weights
        first = replace(context, progress=lambda share: context.progress(share / 2))
        second = replace(context, progress=lambda share: context.progress(0.5 + share / 2))
        self._forget()
        if weights == "learned" or (weights == "auto" and self._beats_equal(data, first)):
            self._learn(Lesson.of(data, rows, context), second)
        context.progress(1.0)
        return self

    def _beats_equal(self, data: FitData, context: FitContext) -> bool:
        """Whether weights learned on older rows beat equal ones on newer rows; leaves equal ones behind."""
        parts = data.head_and_tail(self.params.valid_share)
        if parts is None:
            return False
        head, tail = (Lesson.of(data, rows, context) for rows in parts)
        equal = tail.loss(self._mixed(tail.x))
        self._learn(head, context)
        learned = tail.loss(self._mixed(tail.x))
        self._forget()
        return learned < (1 - self.params.margin) * equal

    def _mixed(self, x: MemberSamples) -> Floats:
        return mix(x.forecasts, self._weights(x))

    def predict(self, x: Samples) -> FloatArray:
        mixed = self._mixed(MemberSamples.of(x)).astype(np.float32)
        return np.sort(mixed, axis=-1)[:, None, :]


def equal_weights(x: MemberSamples) -> Floats:
    """(n, members), all the same."""
    return np.full(x.shape[:2], 1 / x.shape[1])
