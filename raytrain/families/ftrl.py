"""FTRL-Proximal: a line learned online, in one pass over the dates."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import (
    Family,
    FitContext,
    FitData,
    FloatArray,
    Needs,
    OnnxModel,
    Params,
    Range,
    RowIndices,
    Samples,
    Shape,
    Space,
    Task,
)
from raytrain.engines.files import read_params, write_params
from raytrain.engines.linear import Indicators, Line, LinearForecast, probability, weighted_quantiles
from raytrain.engines.native import table
from raytrain.engines.onnx_graphs import linear_graph
from raytrain.engines.training import relative_weights, teaching_rows
from raytrain.features.volatility import VolatilityKind

Floats = NDArray[np.float64]

_EVENTS_PER_LOOK = 200
"""Forecasts and labels between two questions whether to stop."""


class FTRLParams(Params):
    """Parameters, named as in the paper."""

    scale: VolatilityKind = "har"
    """The volatility forecast that targets are divided by."""
    alpha: float = Field(0.0005, gt=0)
    """Learning rate of a weight, before it falls with the gradients that the weight has seen."""
    beta: float = Field(1.0, ge=0)
    """The larger, the later learning rates begin to fall, in the unit of gradients."""
    l1: float = Field(1.0, ge=0)
    """Weights whose summed gradients stay below this are exactly 0."""
    l2: float = Field(10.0, ge=0)
    """Pull of every weight towards 0."""
    residual_share: float = Field(0.25, gt=0, le=1)
    """Newest share of the forecasts made while learning whose errors give the quantiles."""


class FTRL(Family[FTRLParams]):
    """Follow the regularised leader, proximal form (McMahan et al. 2013, algorithm 1), on squared or log loss.

    Each row is forecast at its date with what was known then, and learned from on the date its label became known.
    What those forecasts missed gives the quantiles.
    """

    name = "ftrl"
    engine = "native"
    lane = "cores"
    params_type = FTRLParams
    scaled = True
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})

    @classmethod
    def needs(cls, params: FTRLParams, shape: Shape) -> Needs:
        return Needs(
            memory_bytes=5 * 2**20 + 4 * shape.table_bytes,
            work=0.01 + shape.rows * (1e-5 + 4e-8 * shape.features),
        )

    @classmethod
    def space(cls) -> Space:
        return {"alpha": Range(1e-4, 0.1, log=True), "l1": Range(0.01, 100, log=True), "l2": Range(0.1, 100, log=True)}

    def fit(self, data: FitData, context: FitContext) -> Self:
        rows, _ = teaching_rows(data, context, self.tasks, valid_share=0)
        indicators = Indicators.fit(data, context.categorical)
        x, y = table(data, rows)
        x = np.column_stack([indicators.apply(x), np.ones(len(rows), dtype=np.float32)])
        learner, missed = Proximal(x.shape[1], self.params, context.task), np.full(len(y), np.nan)
        weight = relative_weights(data, rows)
        for done, (row, known) in enumerate(events(data.date[rows], data.label_date[rows]), 1):
            if known:
                learner.learn(x[row], y[row], 1.0 if weight is None else float(weight[row]))
            else:
                missed[row] = y[row] - learner.score(x[row])
            if done % _EVENTS_PER_LOOK == 0:
                context.progress(done / (2 * len(y)))
                if context.should_stop():
                    break
        line = Line(float(learner.weights[-1]), learner.weights[:-1])
        around = None if context.task == "binary" else self._quantiles(missed, data, rows, context)
        self._forecast = LinearForecast(line, around, indicators)
        return self

    def _quantiles(self, missed: Floats, data: FitData, rows: RowIndices, context: FitContext) -> tuple[float, ...]:
        """Of what the newest forecasts missed; NaN stands for a forecast that was not made."""
        made = ~np.isnan(missed)
        missed, rows = missed[made], rows[made]
        dates = np.unique(data.date[rows])
        newest = data.date[rows] >= dates[int(len(dates) * (1 - self.params.residual_share))]
        return tuple(weighted_quantiles(missed[newest], data.weight[rows[newest]], context.quantiles).tolist())

    def predict(self, x: Samples) -> FloatArray:
        return self._forecast.predict(x[:])[:, None, :].astype(np.float32)

    def to_onnx(self, x: FloatArray) -> OnnxModel | str:
        return OnnxModel(content=linear_graph(self._forecast, x.shape[1]))

    def save(self, folder: Path) -> None:
        write_params(folder, self, self._forecast.to_json())

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._forecast = LinearForecast.from_json(state)
        return model


def events(date: NDArray[np.int64], label_date: NDArray[np.int64]) -> Iterator[tuple[int, bool]]:
    """(row, known) in the order of time: each row when it is forecast, and again when its label has become known.

    What becomes known on a date is known to the forecasts made on it.
    """
    when = np.concatenate([label_date, date])
    forecast = np.repeat([False, True], len(date))
    rows = np.tile(np.arange(len(date)), 2)
    for event in np.lexsort((rows, forecast, when)):
        yield int(rows[event]), not forecast[event]


class Proximal:
    """The state of the algorithm: per weight, the sum of squared gradients and the point that pulls it."""

    def __init__(self, num_weights: int, params: FTRLParams, task: Task) -> None:
        self._params, self._binary = params, task == "binary"
        self._squares, self._pull = np.zeros(num_weights), np.zeros(num_weights)
        self.weights = np.zeros(num_weights)

    def score(self, x: FloatArray) -> float:
        """Forecast of one row (weights,); log odds under a binary target."""
        return float(np.einsum("f,f->", x, self.weights))

    def learn(self, x: FloatArray, y: float, weight: float) -> None:
        """Take one row's label."""
        params, score = self._params, self.score(x)
        slope = float(probability(np.asarray(score))) - y if self._binary else 2 * (score - y)
        gradient = weight * slope * x.astype(np.float64)
        before = np.sqrt(self._squares)
        self._squares += gradient**2
        root = np.sqrt(self._squares)
        self._pull += gradient - (root - before) / params.alpha * self.weights
        shrunk = np.sign(self._pull) * np.maximum(np.abs(self._pull) - params.l1, 0)
        self.weights = -shrunk / ((params.beta + root) / params.alpha + params.l2)
