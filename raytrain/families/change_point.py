"""Ridge regression on what came after the last break of each series."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

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
    Samples,
    Shape,
    Space,
)
from raytrain.engines.files import read_params, write_params
from raytrain.engines.linear import PENALTIES, LinearForecast, fit_linear, linear_needs
from raytrain.engines.native import capped
from raytrain.engines.onnx_graphs import linear_graph
from raytrain.engines.training import teaching_rows
from raytrain.features.volatility import VolatilityKind


class ChangePointParams(Params):
    """Parameters."""

    scale: VolatilityKind = "har"
    """The volatility forecast that targets are divided by."""
    break_penalty: float = Field(1.5, gt=0)
    """What a break must gain, in units of log(rows) per signal; 1 is the Bayesian information criterion."""
    min_segment: int = Field(250, ge=2)
    """Rows of a series between two breaks, at least."""
    old_weight: float = Field(0.2, ge=0, le=1)
    """Weight of the rows before the last break of their series; 0 restarts after it."""
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(PENALTIES, min_length=1)
    """Penalties to choose from, for columns of deviation 1 and the mean loss of a row."""
    valid_share: float = Field(0.25, gt=0, le=0.5)
    """Newest share of the training dates kept aside to choose the penalty and to see how far forecasts miss."""


class ChangePoint(Family[ChangePointParams]):
    """Breaks in the level and the size of each series' training targets, and a ridge line mostly from after them.

    Breaks are found by PELT (Killick, Fearnhead & Eckley 2012) with squared cost. Of overlapping targets every
    `horizon`-th is looked at: what neighbours share would be taken for a level.
    """

    name = "change_point"
    engine = "native"
    lane = "cores"
    params_type = ChangePointParams
    scaled = True
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})
    packages = ("ruptures", "scikit-learn")

    breaks: Mapping[int, tuple[int, ...]]
    """Series -> the dates (nanoseconds since 1970) of the first row after each break, rising."""

    @classmethod
    def needs(cls, params: ChangePointParams, shape: Shape) -> Needs:
        line = linear_needs(shape, len(params.penalties))
        # PELT compares each row with every row before it when there is no break.
        return replace(line, work=line.work + 2e-9 * shape.rows**2)

    @classmethod
    def space(cls) -> Space:
        return {"break_penalty": Range(1, 10, log=True), "old_weight": Range(0.0, 1.0)}

    def fit(self, data: FitData, context: FitContext) -> Self:
        params = self.params
        teaching_rows(data, context, self.tasks, params.valid_share)
        self.breaks = {int(one): self._breaks_of(data, one, context) for one in np.unique(data.series)}
        weighted = replace(data, weight=self._weight(data))
        # Again, because rows without weight are no longer counted when some are kept aside.
        parts = teaching_rows(weighted, context, self.tasks, params.valid_share)
        with capped(context.threads):
            self._forecast = fit_linear(weighted, parts, context, params.penalties)
        return self

    def _breaks_of(self, data: FitData, series: int, context: FitContext) -> tuple[int, ...]:
        rows = np.flatnonzero((data.series == series) & (data.weight > 0))
        apart = context.horizons[0]
        signal = _signal(data.y[rows[::apart], 0].astype(np.float64), context)
        places = find_breaks(signal, self.params.break_penalty, math.ceil(self.params.min_segment / apart))
        return tuple(int(data.date[rows[place * apart]]) for place in places)

    def _weight(self, data: FitData) -> FloatArray:
        last = {series: breaks[-1] for series, breaks in self.breaks.items() if breaks}
        begins = np.array([last.get(int(series), np.iinfo(np.int64).min) for series in data.series])
        return np.where(data.date < begins, data.weight * np.float32(self.params.old_weight), data.weight)

    def predict(self, x: Samples) -> FloatArray:
        return self._forecast.predict(x[:])[:, None, :].astype(np.float32)

    def to_onnx(self, x: FloatArray) -> OnnxModel | str:
        return OnnxModel(content=linear_graph(self._forecast, x.shape[1]))

    def save(self, folder: Path) -> None:
        breaks = [[series, list(dates)] for series, dates in self.breaks.items()]
        write_params(folder, self, {"forecast": self._forecast.to_json(), "breaks": breaks})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._forecast = LinearForecast.from_json(state["forecast"])
        model.breaks = {series: tuple(dates) for series, dates in state["breaks"]}
        return model


def _signal(y: NDArray[np.float64], context: FitContext) -> NDArray[np.float64]:
    """(n, signals): the target, and unless it is a label the logarithm of its size, which moves with the spread."""
    if context.task == "binary":
        return y[:, None]
    return np.column_stack([y, np.log(np.abs(y) + 0.1 * y.std() + np.finfo(float).tiny)])


def find_breaks(signal: NDArray[np.float64], penalty: float, min_segment: int) -> list[int]:
    """Where the mean of a signal jumps.

    Args:
        signal: (n, signals), uncorrelated in time.
        penalty: what a break must gain, in units of log(n) per signal.
        min_segment: rows between two breaks, at least.

    Returns:
        Indices of the first row after each break, rising; none in a signal shorter than two segments.
    """
    from ruptures import KernelCPD

    # Half the variance of the steps: a jump hardly moves it.
    noise = np.diff(signal, axis=0).std(axis=0) / math.sqrt(2) if len(signal) > 1 else np.zeros(signal.shape[1])
    moving = signal[:, noise > 0] / noise[noise > 0]
    if len(signal) < 2 * min_segment or moving.shape[1] == 0:
        return []
    gain = penalty * moving.shape[1] * math.log(len(signal))
    # With a linear kernel this is PELT on the squared cost, in C.
    return [int(place) for place in KernelCPD("linear", min_size=min_segment).fit(moving).predict(pen=gain)[:-1]]
