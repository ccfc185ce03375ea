"""One LightGBM booster: train, keep as text, predict."""

import time
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from raytrain.engines.base import FitContext, FitData, FloatArray, Needs, RowIndices, Samples, Shape
from raytrain.engines.native import Rounds, table, useful_threads
from raytrain.engines.training import relative_weights

Way = Literal["force_row_wise", "force_col_wise"]
"""How gradients are summed into histograms: row by row, or column by column.

On one thread each bin's sum takes its rows in the same order either way, so the trees are the same to the bit. Several
threads share out the columns, never the rows: partial sums of rows would depend on how many there are.
"""

_PROBED_VALUES = 2**20
"""Smaller tables stay in the processor's cache, where row by row is the quicker way: measured, 5 % of a fit."""
_PROBED_ROUNDS = 3
_chosen: dict[tuple[int, int], Way] = {}
"""(size of the rows, features) -> the quicker way on one thread, as found by this process."""


class Binned:
    """Training rows and the rows kept aside, binned once; serves any number of boosters.

    Columns of codes are split by sets of categories; a code that training has not seen belongs to no set.
    """

    def __init__(self, data: FitData, head: RowIndices, tail: RowIndices, context: FitContext) -> None:
        import lightgbm

        self.common: dict[str, Any] = {
            "num_threads": context.threads,
            "seed": context.seed,
            "deterministic": True,
            "feature_pre_filter": False,
            "verbosity": -1,
        }
        x, y = table(data, head)
        codes = list(context.categorical)
        weight = relative_weights(data, head)
        binned = lightgbm.Dataset(x, y, weight=weight, categorical_feature=codes, params=self.common)
        self.train = binned.construct()
        self.tail = None
        if len(tail):
            x, y = table(data, tail)
            self.tail = self.train.create_valid(x, y, weight=relative_weights(data, tail), params=self.common)

    def booster(self, params: dict[str, Any]) -> Any:
        """A booster without trees, which sums the quicker way.

        Left alone, LightGBM tries both ways for every booster, and shares out rows when it finds that quicker.
        """
        return self._booster(params, self._quicker_way(params))

    def _booster(self, params: dict[str, Any], way: Way) -> Any:
        import lightgbm

        return lightgbm.Booster({**params, **self.common, way: True}, self.train)

    def _quicker_way(self, params: dict[str, Any]) -> Way:
        """Tried once per process and size of table."""
        if self.common["num_threads"] > 1:
            return "force_col_wise"
        rows, features = self.train.num_data(), self.train.num_feature()
        if rows * features < _PROBED_VALUES:
            return "force_row_wise"
        size = (rows.bit_length(), features)
        if size not in _chosen:
            ways: tuple[Way, ...] = ("force_row_wise", "force_col_wise")
            _chosen[size] = min(ways, key=lambda way: self._probe_s(params, way))
        return _chosen[size]

    def _probe_s(self, params: dict[str, Any], way: Way) -> float:
        """CPU seconds of a few rounds; what else the machine does is not in them."""
        booster = self._booster(params, way)
        booster.update()  # allocates
        began = time.thread_time()
        for _ in range(_PROBED_ROUNDS):
            booster.update()
        return time.thread_time() - began


class TextBooster:
    """A trained booster in LightGBM's own text format, the only form it predicts from: a saved one is the same."""

    def __init__(self, text: str, threads: int = 1) -> None:
        import lightgbm

        self._text = text
        self._threads = threads
        self._booster = lightgbm.Booster(model_str=text)

    @classmethod
    def train(cls, binned: Binned, params: dict[str, Any], num_rounds: int, patience: int, context: FitContext) -> Self:
        """Boost until the loss of the rows kept aside has not fallen for `patience` rounds, or until asked to stop."""
        booster = binned.booster(params)
        if binned.tail is not None:
            booster.add_valid(binned.tail, "tail")
        rounds = Rounds(num_rounds, patience, context)
        stop = False
        while not stop:
            booster.update()
            stop = rounds.stop_after(booster.eval_valid()[0][2] if binned.tail is not None else None)
        return cls(booster.model_to_string(num_iteration=rounds.best), context.threads)

    def predict(self, x: Samples) -> FloatArray:
        """(n,) the prediction of each row."""
        values = self._booster.predict(x[:], num_threads=self._threads)
        return np.asarray(values, dtype=np.float32)

    @property
    def native(self) -> Any:
        """The library's own booster, for those who convert it."""
        return self._booster

    def save(self, path: Path) -> None:
        """Write the text."""
        path.write_text(self._text)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(path.read_text())


def booster_needs(shape: Shape, num_rounds: float, num_leaves: int, num_boosters: int = 1) -> Needs:
    """Measured with LightGBM 4.7 from 4,000 x 50 to 30,000 x 400 values: the peak is while the table is binned."""
    values = shape.rows * shape.features
    round_s = 4e-5 * num_leaves + 3e-9 * values
    return Needs(
        max_threads=useful_threads(shape),
        memory_bytes=int(10 * 2**20 + 4.9 * shape.table_bytes),
        work=0.16e-6 * values + num_boosters * num_rounds * round_s,
    )
