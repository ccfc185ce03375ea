"""What the training of every engine shares: which rows teach, how much each counts, and when to stop."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FitContext, FitData, FloatArray, RowIndices, Task
from raytrain.errors import FitError


class TeachingRows(NamedTuple):
    """Which rows of a fit serve for what."""

    head: RowIndices
    """To learn from."""
    tail: RowIndices
    """Kept aside to know when to stop; may be empty."""


def teaching_rows(data: FitData, context: FitContext, tasks: frozenset[Task], valid_share: float) -> TeachingRows:
    """Choose the rows to learn from and the rows to keep aside.

    Rows of weight 0 are in neither, so a weight of 0 is the same as leaving the row out, whatever the library makes
    of one (LightGBM would still count it in a leaf's minimum).

    Args:
        tasks: what the family can do.
        valid_share: the newest share of the dates to keep aside; 0 keeps none.

    Raises:
        FitError: another task, no variation in the target, or too few dates to keep some aside.
    """
    if context.task not in tasks:
        raise FitError(f"this family does {', '.join(sorted(tasks))}, not {context.task}; leave it out of the target")
    head, tail = np.flatnonzero(data.weight > 0), np.empty(0, dtype=np.intp)
    if valid_share:
        parts = data.head_and_tail(valid_share)
        if parts is None:
            raise FitError(
                f"early stopping needs training labels known before the newest {valid_share:.0%} of "
                f"{len(np.unique(data.date))} dates; start the first fold later or set valid_share to 0"
            )
        head, tail = parts
    _refuse_constant(data.y[head], context.task)
    return TeachingRows(head, tail)


def _refuse_constant(y: FloatArray, task: Task) -> None:
    constant = (y == y[0]).all(axis=0)
    if constant.any():
        column = int(constant.argmax())
        need = "both classes" if task == "binary" else "a target that varies"
        raise FitError(
            f"a fit needs {need} in its training rows, but all {len(y)} are {y[0, column]:g} (output {column}); "
            "start the first fold later or leave the target out"
        )


def relative_weights(data: FitData, rows: RowIndices) -> FloatArray | None:
    """(k,) the weights of the chosen rows with mean 1; None when all are equal.

    Regime weights run to thousands, and regularisation that is counted in weight (XGBoost's `min_child_weight`)
    would vanish beside them. Without weights LightGBM takes its constant-hessian path, which is quicker.
    """
    weight = data.weight[rows]
    if (weight == weight[0]).all():
        return None
    relative: FloatArray = weight / weight.mean()
    return relative


def log_loss(actual: NDArray[Any], probability: NDArray[Any]) -> NDArray[np.float64]:
    """Cross entropy of each 0/1 `actual` in nats; lower is better. A certain and wrong call costs 16, not infinity."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(-(actual * np.log(p) + (1 - actual) * np.log1p(-p)))


class EarlyStopping:
    """Remembers the best loss; exhausted after `patience` updates without a better one. Lower is better."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.updates = 0
        self.best_update = 0
        """Counted from 1; 0 before the first update."""
        self.best_loss = math.inf

    def improved(self, loss: float) -> bool:
        """Take the next loss; True when it is the best so far.

        Raises:
            FitError: the loss is not a number.
        """
        self.updates += 1
        if math.isnan(loss):
            raise FitError(f"the loss on the rows kept aside became NaN in step {self.updates}; lower learning_rate")
        if self.updates > 1 and loss >= self.best_loss:
            return False
        self.best_loss, self.best_update = loss, self.updates
        return True

    @property
    def exhausted(self) -> bool:
        """Whether to stop."""
        return self.updates - self.best_update >= self.patience
