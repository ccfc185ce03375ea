"""No change: the yardstick that every other family must beat."""

from typing import Self

import numpy as np
from pydantic import Field

from raytrain.engines.base import FitContext, FitData, FloatArray, Needs, Params, Shape
from raytrain.engines.constant import ConstantFamily
from raytrain.engines.training import teaching_rows


class NaiveParams(Params):
    """What the spread of the naive forecast is taken from."""

    window: int = Field(756, ge=1)
    """Newest training dates whose targets give the quantiles; 756 is three years of daily bars."""


class Naive(ConstantFamily[NaiveParams]):
    """Median 0 (the price stays), around it the empirical quantiles of the newest training targets.

    The median is not the training one: a drift that is fitted is a forecast, and this is the absence of one. The
    other quantiles are clipped at 0 from their side, so that they never cross the median. A binary target gets the
    weighted base rate. Weights do not move the quantiles: the yardstick is the same for all.
    """

    name = "naive"
    params_type = NaiveParams

    @classmethod
    def needs(cls, params: NaiveParams, shape: Shape) -> Needs:
        return Needs(memory_bytes=5 * 2**20 + shape.table_bytes, work=0.001 + 1e-7 * shape.rows)

    def fit(self, data: FitData, context: FitContext) -> Self:
        rows, _ = teaching_rows(data, context, self.tasks, valid_share=0)
        if context.task == "binary":
            rate = np.average(data.y[rows], axis=0, weights=data.weight[rows])
            self._values = rate[:, None].astype(np.float32)
        else:
            newest = np.unique(data.date[rows])[-self.params.window :]
            recent = data.y[rows][data.date[rows] >= newest[0]]
            self._values = _around_zero(recent, np.array(context.quantiles))
        context.progress(1.0)
        return self


def _around_zero(targets: FloatArray, levels: FloatArray) -> FloatArray:
    """(outputs, levels) empirical quantiles, those below the median at most 0, those above at least 0."""
    values = np.quantile(targets, levels, axis=0).T
    values = np.where(levels < 0.5, np.minimum(values, 0), np.maximum(values, 0))
    return np.where(levels == 0.5, 0, values).astype(np.float32)
