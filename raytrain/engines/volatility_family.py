"""What the families have in common that forecast a volatility and put the spread of past targets around no change."""

from pathlib import Path
from typing import ClassVar, Literal, Self, TypeVar, cast

import numpy as np

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Needs, Params, Samples, Shape
from raytrain.engines.files import read_params, write_params
from raytrain.engines.linear import weighted_quantiles
from raytrain.engines.native import capped
from raytrain.engines.training import teaching_rows
from raytrain.features.history import History
from raytrain.features.volatility import Volatility, VolatilityKind, fit_volatility


class UnscaledParams(Params):
    """Parameters of a family that forecasts the volatility itself."""

    scale: Literal["none"] = "none"
    """Nothing: a target that is divided by a volatility leaves none to forecast."""


U = TypeVar("U", bound=UnscaledParams)


class VolatilityFamily(Family[U]):
    """Volatility forecast x weighted empirical quantiles of the training targets over theirs; a subclass says which."""

    engine = "native"
    lane = "cores"
    inputs = "history"
    gives_quantiles = True
    packages = ("scipy",)
    kind: ClassVar[VolatilityKind]

    @classmethod
    def needs(cls, params: U, shape: Shape) -> Needs:
        # Measured with SciPy 1.17, which is most of it, at 4,000 to 100,000 rows; no window of features is made.
        return Needs(memory_bytes=65 * 2**20 + 700 * shape.rows, work=0.5 + 2e-6 * shape.rows * shape.outputs)

    def fit(self, data: FitData, context: FitContext) -> Self:
        rows, _ = teaching_rows(data, context, self.tasks, valid_share=0)
        history = cast(History, data.x)
        ends, weight = history.ends[rows], data.weight[rows]
        with capped(context.threads):
            self._volatility = [fit_volatility(self.kind, history.path, ends, horizon) for horizon in context.horizons]
        standardised = [
            data.y[rows, output] / volatility.forecast(history.path, ends)
            for output, volatility in enumerate(self._volatility)
        ]
        self._quantiles = np.stack([weighted_quantiles(one, weight, context.quantiles) for one in standardised])
        context.progress(1.0)
        return self

    def predict(self, x: Samples) -> FloatArray:
        history = cast(History, x)
        deviation = [volatility.forecast(history.path, history.ends) for volatility in self._volatility]
        values: FloatArray = (np.stack(deviation, axis=1)[..., None] * self._quantiles).astype(np.float32)
        return values

    def save(self, folder: Path) -> None:
        volatility = [one.to_json() for one in self._volatility]
        write_params(folder, self, {"volatility": volatility, "quantiles": self._quantiles.tolist()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._volatility = [Volatility.from_json(one) for one in state["volatility"]]
        model._quantiles = np.array(state["quantiles"])
        return model
