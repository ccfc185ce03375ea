"""The training loop of every neural family, whatever library computes the gradients."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import FitContext, FitData, FloatArray, Params, RowIndices, Samples
from raytrain.engines.resume import Checkpoint, Position, fingerprint
from raytrain.engines.training import EarlyStopping, TeachingRows, log_loss, relative_weights
from raytrain.errors import FitError
from raytrain.features.volatility import VolatilityKind

# The last epoch's rate as a share of the first: small enough to settle, large enough to matter.
_FINAL_RATE = 0.01


class NetParams(Params):
    """How a net is trained."""

    scale: VolatilityKind = "har"
    """The volatility forecast that targets are divided by and predictions multiplied with; not for binary targets."""
    num_epochs: int = Field(30, ge=1, le=10_000)
    """Passes over the training rows, at most."""
    max_steps: int | None = Field(None, ge=1)
    """Gradient steps at most, whatever the epochs; none when null."""
    batch_size: int = Field(256, ge=1, le=65_536)
    """Rows per gradient step."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """AdamW's rate at the start; falls to a hundredth along a cosine (Loshchilov & Hutter 2017)."""
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

    categories: tuple[tuple[int, int], ...] = ()
    """Feature columns that hold codes, and how many codes each has: those of the training rows and 0, the unseen."""

    @classmethod
    def of(cls, data: FitData, context: FitContext, batch_size: int) -> Self:
        """The shape that the training rows ask for; they are read a batch at a time, and only to count codes."""
        return cls(
            num_features=data.x.shape[-1],
            num_outputs=data.y.shape[1],
            steps=data.x.shape[1] if len(data.x.shape) == 3 else 1,
            levels=None if context.task == "binary" else context.quantiles,
            categories=_categories(data.x, list(context.categorical), batch_size),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild what `dataclasses.asdict` gave, after JSON has made lists of its tuples."""
        levels, categories = values["levels"], values["categories"]
        return cls(
            **{
                **values,
                "levels": None if levels is None else tuple(levels),
                "categories": tuple((column, num_codes) for column, num_codes in categories),
            }
        )


def _categories(x: Samples, columns: list[int], batch_size: int) -> tuple[tuple[int, int], ...]:
    if not columns:
        return ()
    batches = (np.arange(start, min(start + batch_size, len(x))) for start in range(0, len(x), batch_size))
    highest = np.max([x[batch][..., columns].reshape(-1, len(columns)).max(axis=0) for batch in batches], axis=0)
    return tuple((column, int(code) + 1) for column, code in zip(columns, highest, strict=True))


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

    def save_state(self, folder: Path) -> None:
        """Write into an empty folder all that going on needs: weights, optimiser, random generators; no pickle."""

    def load_state(self, folder: Path) -> None:
        """Go on from what `save_state` of an equal learner wrote: the next step gives the same bits."""


def expected_epochs(params: NetParams) -> float:
    """How many epochs a fit will probably run when nothing limits its steps: a prior for its cost."""
    return min(params.num_epochs, params.patience + params.num_epochs / 4) if params.valid_share else params.num_epochs


def expected_steps(params: NetParams, num_rows: int) -> float:
    """How many gradient steps a fit on so many rows will probably take: a prior for its cost."""
    steps = expected_epochs(params) * num_rows * (1 - params.valid_share) / params.batch_size
    return steps if params.max_steps is None else min(steps, params.max_steps)


def train(learner: Learner, data: FitData, rows: TeachingRows, params: NetParams, context: FitContext) -> None:
    """Train on the head until the loss on the tail stops falling, and leave the best weights in the learner.

    Every batch has the same shape (the rows left over differ in each epoch), because varying shapes leak memory on MPS.
    The order of an epoch's rows follows from the seed and the epoch alone, so that a stopped training can go on in the
    middle of one.

    Raises:
        FitError: the loss became NaN or infinite; the message names the epoch and the batch.
    """
    run = _Run(learner, data, rows, params, context)
    checkpoint = run.checkpoint()
    resumed = checkpoint.load(learner) if checkpoint else None
    position = resumed or Position(EarlyStopping(params.patience))
    while position.epoch < run.num_epochs and not position.stopping.exhausted:
        if not run.teach(position):
            if checkpoint:
                checkpoint.save(learner, position)
            break
        position.epoch, position.batch = position.epoch + 1, 0
        context.progress(position.epoch / run.num_epochs)
        if len(rows.tail) and position.stopping.improved(run.loss_aside()):
            position.best = learner.snapshot()
    if position.best is not None:
        learner.restore(position.best)


class _Run:
    """What does not change while a net is trained."""

    def __init__(
        self, learner: Learner, data: FitData, rows: TeachingRows, params: NetParams, context: FitContext
    ) -> None:
        self._learner, self._data, self._rows, self._params, self._context = learner, data, rows, params, context
        self._weight = relative_weights(data, rows.head)
        self._size = min(params.batch_size, len(rows.head))
        self._num_batches = len(rows.head) // self._size
        steps = params.num_epochs * self._num_batches
        self._num_steps = steps if params.max_steps is None else min(steps, params.max_steps)
        self.num_epochs = math.ceil(self._num_steps / self._num_batches)
        """The last one is shorter when the steps are limited."""

    def checkpoint(self) -> Checkpoint | None:
        """Where a stopped training is kept; None when nobody wants it."""
        folder = self._context.checkpoint
        if folder is None:
            return None
        return Checkpoint(folder, lambda: fingerprint(self._data, self._rows, self._params, self._context, self._size))

    def teach(self, position: Position) -> bool:
        """The rest of an epoch; False when it was stopped, with `position` at the next batch."""
        first, losses, heard = position.batch, [], False
        for batch in self._batches(position.epoch)[first:]:
            losses.append(self._step(batch, position))
            position.batch += 1
            if heard := self._context.should_stop():
                break
        _refuse_divergence(losses, position.epoch, first, self._params)
        return not heard

    def _batches(self, epoch: int) -> NDArray[np.intp]:
        """(batches, size) places in the head, without the rows left over."""
        order = np.random.default_rng((self._context.seed, epoch)).permutation(len(self._rows.head))
        batches = order[: self._num_batches * self._size].reshape(-1, self._size)
        return batches[: self._num_steps - epoch * self._num_batches]

    def _step(self, batch: RowIndices, position: Position) -> SupportsFloat:
        done = (position.epoch * self._num_batches + position.batch) / self._num_steps
        chosen = self._rows.head[batch]
        weight = np.ones(self._size, dtype=np.float32) if self._weight is None else self._weight[batch]
        return self._learner.step(self._data.x[chosen], self._data.y[chosen], weight, _cosine_rate(self._params, done))

    def loss_aside(self) -> float:
        """The weighted mean loss of the rows kept aside."""
        tail = self._rows.tail
        predicted = predict(self._learner.predict, self._data.x, tail, self._size).astype(np.float64)
        loss = row_loss(self._data.y[tail], predicted, self._context)
        return float(np.average(loss, weights=self._data.weight[tail]))


def _cosine_rate(params: NetParams, done: float) -> float:
    """The rate when a share of all steps is done."""
    falling = 0.5 * (1 + math.cos(math.pi * done))
    return params.learning_rate * (_FINAL_RATE + (1 - _FINAL_RATE) * falling)


def _refuse_divergence(losses: Sequence[SupportsFloat], epoch: int, first: int, params: NetParams) -> None:
    """Read the losses once per epoch: reading each at once would make an accelerator wait for every batch."""
    values = np.array([float(loss) for loss in losses])
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise FitError(
            f"the loss became {values[place]} in epoch {epoch + 1}, batch {first + place + 1}; lower learning_rate "
            f"({params.learning_rate:g}) or clip_norm ({params.clip_norm:g})"
        )


def row_loss(y: FloatArray, predicted: NDArray[np.float64], context: FitContext) -> NDArray[np.float64]:
    """(n,) pinball loss, or the cross entropy of a probability, averaged over outputs and levels. Lower is better."""
    target = y[..., None].astype(np.float64)
    if context.task == "binary":
        loss = log_loss(target, predicted)
    else:
        levels, error = np.array(context.quantiles), target - predicted
        loss = np.maximum(levels * error, (levels - 1) * error)
    return np.asarray(loss.mean(axis=(1, 2)))


def predict(forward: Forward, x: Samples, rows: RowIndices, size: int) -> FloatArray:
    """(k, outputs, levels): the chosen rows of `x` through `forward`, in batches of `size` rows.

    All batches have one shape: the last is filled up by repeating its rows.
    """
    parts = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        parts.append(forward(x[np.resize(batch, size)])[: len(batch)])
    return np.concatenate(parts)
