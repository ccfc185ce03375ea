"""The past goes on: a yardstick with a mean and a spread that never change."""

from pathlib import Path
from statistics import NormalDist
from typing import Self

import numpy as np

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Needs, Params, Samples, Shape
from raytrain.engines.files import read_params, write_params
from raytrain.engines.training import teaching_rows


class DriftParams(Params):
    """Nothing to choose but the scope; as a yardstick it does not scale unless asked."""


class Drift(Family[DriftParams]):
    """A random walk with drift: normal quantiles of the targets' weighted mean and deviation.

    A binary target gets its weighted base rate.
    """

    name = "drift"
    engine = "native"
    lane = "cores"
    params_type = DriftParams
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})

    @classmethod
    def needs(cls, params: DriftParams, shape: Shape) -> Needs:
        return Needs(memory_bytes=5 * 2**20 + shape.table_bytes, work=0.001 + 1e-8 * shape.rows)

    def fit(self, data: FitData, context: FitContext) -> Self:
        rows, _ = teaching_rows(data, context, self.tasks, valid_share=0)
        y, weight = data.y[rows].astype(np.float64), data.weight[rows]
        mean = np.average(y, axis=0, weights=weight)[:, None]
        steps = np.zeros(1)
        if context.task == "regression":
            steps = np.array([NormalDist().inv_cdf(level) for level in context.quantiles])
        deviation = np.sqrt(np.average((y - mean.T) ** 2, axis=0, weights=weight))
        self._values = (mean + deviation[:, None] * steps).astype(np.float32)
        context.progress(1.0)
        return self

    def predict(self, x: Samples) -> FloatArray:
        return np.repeat(self._values[None], len(x), axis=0)

    def save(self, folder: Path) -> None:
        write_params(folder, self, {"values": self._values.tolist()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._values = np.array(state["values"], dtype=np.float32)
        return model
