"""Training through Lightning's Trainer, for nets that are made for it. Imported in torch processes only.

The rows, the early stopping and the checkpoint are those of `epochs.train`; the learning rate falls on a plateau.
"""

import json
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset

from raytrain.engines import torch_loop
from raytrain.engines.base import FitContext, FitData, FloatArray, RowIndices
from raytrain.engines.epochs import NetParams, NetShape, predict, row_loss
from raytrain.engines.resume import Checkpoint, Position, fingerprint
from raytrain.engines.training import EarlyStopping, TeachingRows, relative_weights
from raytrain.errors import FitError

_FILE = "net.safetensors"
_OPTIMIZER_FILE = "optimizer.safetensors"
_SCHEDULE_FILE = "schedule.json"
_RANDOM = "random"
_PLATEAU_FACTOR = 0.5

Batch = tuple[FloatArray, FloatArray, FloatArray]
"""Inputs, targets and weights."""


def train(
    net: nn.Module,
    shape: NetShape,
    data: FitData,
    rows: TeachingRows,
    *,
    params: NetParams,
    context: FitContext,
    plateau_patience: int,
) -> None:
    """Train on the head until the loss on the tail stops falling, and leave the best weights in the net.

    A stopped training goes on in the middle of an epoch, on the CPU; on other devices, whose random state is not kept,
    it starts afresh.

    Args:
        plateau_patience: epochs without a lower loss before the learning rate is halved.

    Raises:
        FitError: the loss became NaN or infinite; the message names the epoch and the batch.
    """
    lesson = _Lesson(net, shape, data, rows, params=params, context=context, plateau_patience=plateau_patience)
    checkpoint = None
    if context.checkpoint is not None and context.device == "cpu":
        size = lesson.batch_size
        checkpoint = Checkpoint(context.checkpoint, lambda: fingerprint(data, rows, params, context, size))
        lesson.position = checkpoint.load(lesson) or lesson.position
    if lesson.epochs_left:
        _fit(lesson, params, context)
    if checkpoint and lesson.stopped:
        checkpoint.save(lesson, lesson.position)
    if lesson.position.best is not None:
        lesson.restore(lesson.position.best)


def save(net: nn.Module, folder: Path) -> None:
    """Write the weights as safetensors, those that layers share only once."""
    save_model(net, str(folder / _FILE))


def load(net: nn.Module, folder: Path) -> None:
    """Give an untrained net the weights that `save` wrote."""
    load_model(net, folder / _FILE)


def _fit(lesson: "_Lesson", params: NetParams, context: FitContext) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # it would print which devices it found
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers", UserWarning)  # a fit has its threads counted
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)  # 2.6 with torch 2.13
        warnings.filterwarnings("ignore", "GPU available but not used", UserWarning)  # the device was chosen before
        trainer = Trainer(
            accelerator=context.device,
            devices=1,
            max_epochs=lesson.epochs_left,
            gradient_clip_val=params.clip_norm,
            deterministic=context.device == "cpu",
            reload_dataloaders_every_n_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(lesson)


class _Batches(Dataset[Batch]):
    """The rest of an epoch, made a batch at a time."""

    def __init__(self, data: FitData, head: RowIndices, weight: FloatArray, batches: Sequence[RowIndices]) -> None:
        self._data, self._head, self._weight, self._batches = data, head, weight, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        batch = self._batches[index]
        chosen = self._head[batch]
        return self._data.x[chosen], self._data.y[chosen], self._weight[batch]


class _Lesson(LightningModule):
    """A net, what it is taught, and how far it has come."""

    def __init__(
        self,
        net: nn.Module,
        shape: NetShape,
        data: FitData,
        rows: TeachingRows,
        *,
        params: NetParams,
        context: FitContext,
        plateau_patience: int,
    ) -> None:
        super().__init__()
        self.net = net
        self.position = Position(EarlyStopping(params.patience))
        self.stopped = False
        """Whether a stop was heard."""
        self.batch_size = min(params.batch_size, len(rows.head))
        self._levels, self._data, self._rows, self._context = shape.levels, data, rows, context
        weight = relative_weights(data, rows.head)
        self._weight = np.ones(len(rows.head), dtype=np.float32) if weight is None else weight
        self._num_batches = len(rows.head) // self.batch_size
        steps = params.num_epochs * self._num_batches
        self._num_steps = steps if params.max_steps is None else min(steps, params.max_steps)
        self._params = params
        self._optimizer = torch.optim.AdamW(net.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)
        self._schedule = ReduceLROnPlateau(self._optimizer, factor=_PLATEAU_FACTOR, patience=plateau_patience)
        self._losses: list[float] = []

    @property
    def epochs_left(self) -> int:
        """The last one is shorter when the steps are limited."""
        if self.position.stopping.exhausted:
            return 0
        return math.ceil(self._num_steps / self._num_batches) - self.position.epoch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer

    def train_dataloader(self) -> DataLoader[Batch]:
        """The order of an epoch's rows follows from the seed and the epoch alone."""
        epoch = self.position.epoch
        order = np.random.default_rng((self._context.seed, epoch)).permutation(len(self._rows.head))
        batches = order[: self._num_batches * self.batch_size].reshape(-1, self.batch_size)
        batches = batches[self.position.batch : self._num_steps - epoch * self._num_batches]
        left = _Batches(self._data, self._rows.head, self._weight, list(batches))
        # With a generator of its own, or it would draw from the one that dropout draws from.
        return DataLoader(left, batch_size=None, generator=torch.Generator())

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> Tensor:
        x, y, weight = batch
        return (self._row_loss(self.net(x), y) * weight).mean()

    def _row_loss(self, predicted_BOQ: Tensor, y_BO: Tensor) -> Tensor:
        """(B,) pinball loss or binary cross entropy, averaged over outputs and levels.

        Not pytorch-forecasting's own: it puts 1e9 in the place of a loss that is not finite, and goes on.
        """
        y_BO1 = y_BO.unsqueeze(-1)
        if self._levels is None:
            loss_BOQ = binary_cross_entropy_with_logits(predicted_BOQ, y_BO1, reduction="none")
        else:
            loss_BOQ = torch_loop.pinball(predicted_BOQ, y_BO1, self._levels)
        return loss_BOQ.mean(dim=(1, 2))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._losses.append(float(outputs["loss"]))
        self.position.batch += 1
        self._refuse_divergence()
        done = self.position.epoch * self._num_batches + self.position.batch
        self._context.progress(done / self._num_steps)
        if self._context.should_stop():
            self.stopped = self.trainer.should_stop = True

    def _refuse_divergence(self) -> None:
        if not math.isfinite(self._losses[-1]):
            raise FitError(
                f"the loss became {self._losses[-1]} in epoch {self.position.epoch + 1}, batch {self.position.batch}; "
                f"lower learning_rate ({self._params.learning_rate:g}) or clip_norm ({self._params.clip_norm:g})"
            )

    def on_train_epoch_end(self) -> None:
        """Unless it was stopped in its middle: look at the rows kept aside."""
        done = self.position.epoch * self._num_batches + self.position.batch
        if self.position.batch < self._num_batches and done < self._num_steps:
            return
        self.position.epoch, self.position.batch = self.position.epoch + 1, 0
        loss = self._loss_aside() if len(self._rows.tail) else float(np.mean(self._losses))
        self._losses.clear()
        self._schedule.step(loss)
        if len(self._rows.tail) and self.position.stopping.improved(loss):
            self.position.best = self.snapshot()
        if self.position.stopping.exhausted and len(self._rows.tail):
            self.trainer.should_stop = True

    def _loss_aside(self) -> float:
        """The weighted mean loss of the rows kept aside."""
        tail = self._rows.tail
        self.net.eval()
        predicted = predict(self._forward, self._data.x, tail, self.batch_size).astype(np.float64)
        self.net.train()
        loss = row_loss(self._data.y[tail], predicted, self._context)
        return float(np.average(loss, weights=self._data.weight[tail]))

    def _forward(self, x: FloatArray) -> FloatArray:
        with torch.inference_mode():
            predicted = self.net(torch.from_numpy(x).to(self.device))
            values: FloatArray = (predicted.sigmoid() if self._levels is None else predicted).cpu().numpy()
        return values

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: weight.clone() for name, weight in self.net.state_dict().items()}

    def restore(self, snapshot: Any) -> None:
        """Put the weights back."""
        self.net.load_state_dict(snapshot)

    def save_state(self, folder: Path) -> None:
        """Write weights, optimiser, schedule and the random state of the CPU, without pickle."""
        save(self.net, folder)
        slots = self._optimizer.state_dict()["state"]
        flat = {f"{index}.{name}": value for index, values in slots.items() for name, value in values.items()}
        save_file(flat | {_RANDOM: torch.get_rng_state()}, folder / _OPTIMIZER_FILE)
        content = {"schedule": self._schedule.state_dict(), "losses": self._losses}
        (folder / _SCHEDULE_FILE).write_text(json.dumps(content))

    def load_state(self, folder: Path) -> None:
        """Go on from what `save_state` wrote: the next step gives the same bits."""
        load(self.net, folder)
        flat = load_file(folder / _OPTIMIZER_FILE)
        torch.set_rng_state(flat.pop(_RANDOM))
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in flat.items():
            index, _, name = key.partition(".")
            slots.setdefault(int(index), {})[name] = value
        content = json.loads((folder / _SCHEDULE_FILE).read_text())
        self._schedule.load_state_dict(content["schedule"])
        groups = self._optimizer.state_dict()["param_groups"]
        (groups[0]["lr"],) = self._schedule.get_last_lr()
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self._losses = content["losses"]
