"""What boosted trees and lines share, whatever library they are made with."""

import math
import sys
from contextlib import AbstractContextManager
from importlib.abc import MetaPathFinder
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FitContext, FitData, FloatArray, RowIndices, Shape
from raytrain.engines.training import EarlyStopping
from raytrain.errors import FitError


class Rounds:
    """Decides after each boosting round whether to go on, and how many rounds to keep in the end."""

    def __init__(self, num_rounds: int, patience: int, context: FitContext) -> None:
        self._num_rounds = num_rounds
        self._stopping = EarlyStopping(patience)
        self._context = context
        self._done = 0

    def stop_after(self, loss: float | None) -> bool:
        """Take note of a finished round; True when it was the last.

        Args:
            loss: on the rows kept aside, lower is better; None when none are.
        """
        self._done += 1
        if loss is not None:
            self._stopping.improved(loss)
        self._context.progress(self._done / self._num_rounds)
        return self._done >= self._num_rounds or self._stopping.exhausted or self._context.should_stop()

    @property
    def best(self) -> int:
        """Rounds to keep: those up to the lowest loss, or all when no loss was given."""
        return self._stopping.best_update or self._done


def expected_rounds(num_rounds: int, patience: int, valid_share: float) -> float:
    """How many rounds a fit will probably run: a prior for its cost.

    On returns the loss of the rows kept aside stops falling early, so far fewer than `num_rounds`.
    """
    return min(num_rounds, patience + 1.5 * math.sqrt(num_rounds)) if valid_share else num_rounds


class _NoTorch(MetaPathFinder):
    """Torch as if it were not installed."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "torch":
            raise ModuleNotFoundError("a native process must not hold torch", name=fullname)


def skops_io() -> Any:
    """The module `skops.io`, loaded without torch.

    It looks for estimators in every module of scikit-learn, one of which imports torch where it is installed: the
    second OpenMP runtime that a native process must not hold.
    """
    refuses = _NoTorch()
    sys.meta_path.insert(0, refuses)
    try:
        from skops import io
    finally:
        sys.meta_path.remove(refuses)
    return io


def useful_threads(shape: Shape) -> int:
    """Threads that a tree library can keep busy: two halve the time from about 100,000 values on, on two cores."""
    return min(8, 1 + shape.rows * shape.features // 100_000)


def capped(threads: int) -> AbstractContextManager[object]:
    """Hold numpy's and scipy's linear algebra to so many threads inside a `with`, whatever the environment allows.

    Accelerate, numpy's on a Mac, knows only the environment.
    """
    import scipy.linalg  # noqa: F401 - a library that is loaded later would not be held
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(threads)
    return limits


def table(data: FitData, rows: RowIndices) -> tuple[FloatArray, NDArray[np.float64]]:
    """The chosen rows as (k, features) and their one target as (k,).

    Raises:
        FitError: several targets; trees are grown for one.
    """
    if data.y.shape[1] != 1:
        raise FitError(f"trees predict one target at a time, got {data.y.shape[1]}; plan one fit for each")
    return data.x[rows], data.y[rows, 0].astype(np.float64)
