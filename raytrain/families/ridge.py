"""Ridge regression with empirical quantiles, or logistic regression with an L2 penalty."""

from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Needs, OnnxModel, Params, Samples, Shape
from raytrain.engines.files import read_params, write_params
from raytrain.engines.linear import PENALTIES, LinearForecast, fit_linear, linear_needs
from raytrain.engines.native import capped
from raytrain.engines.onnx_graphs import linear_graph
from raytrain.engines.training import teaching_rows
from raytrain.features.volatility import VolatilityKind


class RidgeParams(Params):
    """Parameters."""

    scale: VolatilityKind = "har"
    """The volatility forecast that targets are divided by."""
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(PENALTIES, min_length=1)
    """Penalties to choose from, for columns of deviation 1 and the mean loss of a row."""
    valid_share: float = Field(0.25, gt=0, le=0.5)
    """Newest share of the training dates kept aside to choose the penalty and to see how far forecasts miss."""


class Ridge(Family[RidgeParams]):
    """A line through all features, shrunk towards the mean, and around it what it missed (Hoerl & Kennard 1970).

    Under a binary target the line is that of the log odds.
    """

    name = "ridge"
    engine = "native"
    lane = "cores"
    params_type = RidgeParams
    scaled = True
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})
    packages = ("scikit-learn",)

    @classmethod
    def needs(cls, params: RidgeParams, shape: Shape) -> Needs:
        return linear_needs(shape, len(params.penalties))

    def fit(self, data: FitData, context: FitContext) -> Self:
        parts = teaching_rows(data, context, self.tasks, self.params.valid_share)
        with capped(context.threads):
            self._forecast = fit_linear(data, parts, context, self.params.penalties)
        return self

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
