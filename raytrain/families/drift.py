"""The past goes on: a yardstick with a mean and a spread that never change."""

from statistics import NormalDist
from typing import Self

import numpy as np

from raytrain.engines.base import FitContext, FitData, Needs, Params, Shape
from raytrain.engines.constant import ConstantFamily
from raytrain.engines.training import teaching_rows


class DriftParams(Params):
    """Nothing to choose but the scope; as a yardstick it does not scale unless asked."""


class Drift(ConstantFamily[DriftParams]):
    """A random walk with drift: normal quantiles of the targets' weighted mean and deviation.

    A binary target gets its weighted base rate.
    """

    name = "drift"
    params_type = DriftParams

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
