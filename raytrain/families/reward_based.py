"""Positions that earn: a score of all features, trained on the Sharpe ratio net of costs and not on the return."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field

from raytrain.engines.base import (
    Family,
    FitContext,
    FitData,
    FloatArray,
    Needs,
    Params,
    RowIndices,
    Samples,
    Shape,
)
from raytrain.engines.files import read_params, write_params
from raytrain.engines.linear import PENALTIES, Indicators, Line
from raytrain.engines.native import Rounds, capped
from raytrain.engines.net_sharpe import Market
from raytrain.engines.training import TeachingRows, teaching_rows
from raytrain.features.preprocess import Preprocess


class RewardBasedParams(Params):
    """Parameters."""

    scale: Literal["none"] = "none"
    """Targets stay what a position earns: costs are in their unit."""
    cost_bp: float = Field(2.0, ge=0)
    """Cost of trading the whole capital once, in basis points; of a price unit for targets that are differences."""
    num_iterations: int = Field(50, ge=1, le=10_000)
    """Steps of the optimiser for each penalty, at most."""
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(PENALTIES, min_length=1)
    """Penalties to choose from: variance added per squared weight of a column of deviation 1, in variances of the
    target."""
    valid_share: float = Field(0.25, gt=0, le=0.5)
    """Newest share of the training dates kept aside, on whose net Sharpe ratio the penalty is chosen."""


class RewardBased(Family[RewardBasedParams]):
    """Positions tanh(score) in [-1, 1] whose rewards have the best ratio of mean to deviation (Moody & Saffell 2001).

    The score is a line through the features with a mean square of 1 over the training rows, because a Sharpe ratio does
    not know how large positions are. Training starts from the constant position that the training rows favour, and the
    strongest penalty hardly leaves it. Positions are held for the target's horizon, so costs are charged on the change
    since the position that each one replaces, `horizon` rows before; the rewards of a date are averaged over series.

    `predict` gives the position times `size`, the target that a position of 1 has met: its sign and relative size are
    what is traded.
    """

    name = "reward_based"
    engine = "native"
    lane = "cores"
    params_type = RewardBasedParams
    packages = ("scipy",)

    size: float
    """What a position of 1 predicts, above 0, so that positions are predictions divided by it."""

    @classmethod
    def needs(cls, params: RewardBasedParams, shape: Shape) -> Needs:
        # Measured from 4,000 x 50 to 60,000 x 150 values; the optimiser is done long before it must be.
        steps = len(params.penalties) * math.sqrt(params.num_iterations)
        return Needs(
            memory_bytes=int(40 * 2**20 + 6.5 * shape.table_bytes),
            work=0.1 + steps * (1e-4 + 1.5e-9 * shape.rows * shape.features),
        )

    def fit(self, data: FitData, context: FitContext) -> Self:
        parts = teaching_rows(data, context, self.tasks, self.params.valid_share)
        rows = np.flatnonzero(data.weight > 0)
        self._indicators = Indicators.fit(data, context.categorical)
        x = self._indicators.apply(data.x[:])
        self._preprocess = Preprocess.fit(x, rows)
        with capped(context.threads):
            self._line = self._best_line(replace(data, x=self._preprocess.apply(x)), parts, context)
        self.size = _gain(self.positions(data.x[rows]), data.y[rows, 0], data.weight[rows])
        return self

    def _best_line(self, data: FitData, parts: TeachingRows, context: FitContext) -> Line:
        """Choose the penalty on the rows kept aside, then train on all rows."""
        start, penalty = self._choose(data, parts, context)
        return self._market(data, np.flatnonzero(data.weight > 0), context).train(
            start, penalty, self.params.num_iterations
        )

    def _choose(self, data: FitData, parts: TeachingRows, context: FitContext) -> tuple[Line, float]:
        """The penalty with the best net Sharpe ratio on the rows kept aside, and the line it gave."""
        penalties = sorted(self.params.penalties, reverse=True)
        train, aside = (self._market(data, rows, context) for rows in parts)
        rounds, tried = Rounds(len(penalties), len(penalties), context), [(train.constant(), penalties[0])]
        for penalty in penalties:
            tried.append((train.train(tried[-1][0], penalty, self.params.num_iterations), penalty))
            if rounds.stop_after(-aside.sharpe(aside.positions(tried[-1][0])).ratio):
                break
        return tried[rounds.best]

    def _market(self, data: FitData, rows: RowIndices, context: FitContext) -> Market:
        return Market.make(data, rows, context.horizons[0], self.params.cost_bp / 1e4)

    def positions(self, x: Samples) -> FloatArray:
        """(n,) in [-1, 1]: share of the capital, negative for short."""
        ready = self._preprocess.apply(self._indicators.apply(x[:]))
        return np.tanh(self._line.score(ready)).astype(np.float32)

    def predict(self, x: Samples) -> FloatArray:
        return (self.positions(x) * np.float32(self.size))[:, None, None]

    def save(self, folder: Path) -> None:
        state = {"size": self.size, "line": self._line.to_json(), "codes": self._indicators.codes}
        write_params(folder, self, {**state, "preprocess": self._preprocess.to_json()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model.size, model._line = state["size"], Line.from_json(state["line"])
        model._indicators = Indicators.from_json(state["codes"])
        model._preprocess = Preprocess.from_json(state["preprocess"])
        return model


def _gain(position: FloatArray, y: FloatArray, weight: FloatArray) -> float:
    """The target per position, by least squares through 0; next to nothing where positions met none."""
    gained = np.average(position.astype(np.float64) * y, weights=weight) / np.average(position**2, weights=weight)
    return max(float(gained), 1e-6 * float(np.average(np.abs(y), weights=weight)))
