"""The training loop of every neural family, whatever library computes the gradients."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import FitContext, FitData, FloatArray, Params, RowIndices, Samples
from raytrain.engines.training import EarlyStopping, TeachingRows, log_loss, relative_weights
from raytrain.errors import FitError

# The last epoch's rate as a share of the first: small enough to settle, large enough to matter.
_FINAL_RATE = 0.01


class NetParams(Params):
    """How a net is trained."""

    num_epochs: int = Field(30, ge=1, le=10_000)
    """Passes over the training rows, at most."""
    batch_size: int = Field(256, ge=1, le=65_536)
    """Rows per gradient step."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """AdamW's rate in the first epoch; falls to a hundredth along a cosine (Loshchilov & Hutter 2017)."""
    weight_decay: float = Field(1e-4, ge=0, le=1)
    """AdamW's decoupled decay of the weights, per unit of learning rate."""
    clip_norm: float = Field(1.0, gt=0)
    """Gradients are shortened to this joint Euclidean norm."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of hidden units left out of each step."""
    patience: int = Field(5, ge=1)
    """Epochs without a lower loss on the rows kept aside before training stops."""
    valid_share: float = Field(0.15, ge=0, le=0.5)
    """Newest share of the training dates kept aside for early stopping; 0 trains all epochs on all rows."""


Forward = Callable[[FloatArray], FloatArray]
"""(batch, ...) inputs -> (batch, outputs, levels), or (batch, outputs, 1) probabilities; dropout off."""


@dataclass(frozen=True, kw_only=True)
class NetShape:
    """What a net is built from besides its parameters."""

    num_features: int
    num_outputs: int
    steps: int = 1
    levels: tuple[float, ...] | None = None
    """Quantile levels; None for the probability of a binary target."""

    @classmethod
    def of(cls, data: FitData, context: FitContext) -> Self:
        """The shape that the training rows ask for."""
        return cls(
            num_features=data.x.shape[-1],
            num_outputs=data.y.shape[1],
            steps=data.x.shape[1] if len(data.x.shape) == 3 else 1,
            levels=None if context.task == "binary" else context.quantiles,
        )


class Learner(Protocol):
    """A net in training."""

    def step(self, x: FloatArray, y: FloatArray, weight: FloatArray, rate: float) -> SupportsFloat:
        """Take one gradient step at a learning rate; returns the batch's mean loss, to be read later."""

    def predict(self, x: FloatArray) -> FloatArray:
        """The net as a `Forward`."""

    def snapshot(self) -> Any:
        """A copy of the weights."""

    def restore(self, snapshot: Any) -> None:
        """Put the weights back."""


def expected_epochs(params: NetParams) -> float:
    """How many epochs a fit will probably run: a prior for its cost."""
    return min(params.num_epochs, params.patience + params.num_epochs / 4) if params.valid_share else params.num_epochs


def train(learner: Learner, data: FitData, rows: TeachingRows, params: NetParams, context: FitContext) -> None:
    """Train on the head until the loss on the tail stops falling, and leave the best weights in the learner.

    Every batch has the same shape (the rows left over differ in each epoch), because varying shapes leak memory on MPS.

    Raises:
        FitError: the loss became NaN or infinite; the message names the epoch and the batch.
    """
    head, tail = rows
    rng = np.random.default_rng(context.seed)
    weight = relative_weights(data, head)
    size = min(params.batch_size, len(head))
    stopping, best = EarlyStopping(params.patience), None
    for epoch in range(params.num_epochs):
        rate = _cosine_rate(params, epoch)
        losses: list[SupportsFloat] = []
        stopped = False
        for batch in _shuffled(len(head), size, rng):
            chosen = head[batch]
            batch_weight = np.ones(size, dtype=np.float32) if weight is None else weight[batch]
            losses.append(learner.step(data.x[chosen], data.y[chosen], batch_weight, rate))
            if stopped := context.should_stop():
                break
        _refuse_divergence(losses, epoch, params)
        if stopped:
            break
        context.progress((epoch + 1) / params.num_epochs)
        if len(tail) and stopping.improved(_loss_on(learner, data, tail, size, context)):
            best = learner.snapshot()
        if stopping.exhausted:
            break
    if best is not None:
        learner.restore(best)


def _cosine_rate(params: NetParams, epoch: int) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * epoch / params.num_epochs))
    return params.learning_rate * (_FINAL_RATE + (1 - _FINAL_RATE) * falling)


def _shuffled(num_rows: int, size: int, rng: np.random.Generator) -> Iterator[RowIndices]:
    order = rng.permutation(num_rows)
    for start in range(0, num_rows - size + 1, size):
        yield order[start : start + size]


def _refuse_divergence(losses: Sequence[SupportsFloat], epoch: int, params: NetParams) -> None:
    """Read the losses once per epoch: reading each at once would make an accelerator wait for every batch."""
    values = np.array([float(loss) for loss in losses])
    if not np.isfinite(values).all():
        batch = int(np.flatnonzero(~np.isfinite(values))[0])
        raise FitError(
            f"the loss became {values[batch]} in epoch {epoch + 1}, batch {batch + 1}; lower learning_rate "
            f"({params.learning_rate:g}) or clip_norm ({params.clip_norm:g})"
        )


def _loss_on(learner: Learner, data: FitData, rows: RowIndices, size: int, context: FitContext) -> float:
    """The weighted mean loss of the rows kept aside."""
    predicted = _predict_rows(learner.predict, data.x, rows, size).astype(np.float64)
    loss = row_loss(data.y[rows], predicted, context)
    return float(np.average(loss, weights=data.weight[rows]))


def row_loss(y: FloatArray, predicted: NDArray[np.float64], context: FitContext) -> NDArray[np.float64]:
    """(n,) pinball loss, or the cross entropy of a probability, averaged over outputs and levels. Lower is better."""
    target = y[..., None].astype(np.float64)
    if context.task == "binary":
        loss = log_loss(target, predicted)
    else:
        levels, error = np.array(context.quantiles), target - predicted
        loss = np.maximum(levels * error, (levels - 1) * error)
    return np.asarray(loss.mean(axis=(1, 2)))


def predict(forward: Forward, x: Samples, size: int) -> FloatArray:
    """(n, outputs, levels): every row of `x` through `forward`, in batches of `size` rows."""
    return _predict_rows(forward, x, np.arange(len(x)), size)


def _predict_rows(forward: Forward, x: Samples, rows: RowIndices, size: int) -> FloatArray:
    """Batches of one shape: the last is filled up by repeating its rows."""
    parts = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        parts.append(forward(x[np.resize(batch, size)])[: len(batch)])
    return np.concatenate(parts)
