"""One ridge line per regime, mixed by what the past says of the regime that a row is in."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Needs, Params, Range, Samples, Shape, Space
from raytrain.engines.files import read_params, write_params
from raytrain.engines.linear import PENALTIES, LinearForecast, fit_linear, linear_needs
from raytrain.engines.native import capped
from raytrain.engines.regimes import Regimes, fit_regimes, mixture_quantiles
from raytrain.engines.training import teaching_rows
from raytrain.errors import ConfigError, did_you_mean
from raytrain.features.volatility import VolatilityKind

Floats = NDArray[np.float64]

_OF_VOLATILITY = re.compile(r"(^|_)(vol|volatility|vix|range|atr|garch)(_|\d|$)")
_GRID = tuple(((np.arange(99) + 0.5) / 99).tolist())
"""Levels at which each regime's forecast is known before they are mixed."""


class GMMRegimeParams(Params):
    """Parameters."""

    scale: VolatilityKind = "har"
    """The volatility forecast that targets are divided by."""
    num_regimes: int = Field(3, ge=1, le=10)
    """Regimes, each with a line of its own."""
    columns: tuple[str, ...] = ()
    """Beginnings of the names of the features that tell regimes apart; those that look like volatility if not given."""
    num_components: int = Field(3, ge=1, le=20)
    """Principal components of these features that the mixture sees, at most."""
    window: int = Field(20, ge=1, le=1000)
    """Newest rows that the probabilities of a row's regimes are filtered over."""
    sharing: float = Field(0.2, gt=0, le=1)
    """Weight that a row has for a regime it is certainly not in; 1 gives every regime the same line."""
    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(PENALTIES, min_length=1)
    """Penalties to choose from, for columns of deviation 1 and the mean loss of a row."""
    valid_share: float = Field(0.25, gt=0, le=0.5)
    """Newest share of the training dates kept aside to choose penalties and to see how far forecasts miss."""
    batch_size: int = Field(512, ge=1)
    """Windows made at a time."""


class GMMRegime(Family[GMMRegimeParams]):
    """Experts per regime of a Gaussian mixture: the forecast is the mixture of theirs by filtered probabilities.

    Mixing distributions and not quantiles keeps the spread between the regimes.
    """

    name = "gmm_regime"
    engine = "native"
    lane = "cores"
    params_type = GMMRegimeParams
    inputs = "windows"
    scaled = True
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})
    packages = ("scikit-learn",)
    no_onnx = "it filters the regimes step by step through the window in numpy: no converter knows it"

    @classmethod
    def needs(cls, params: GMMRegimeParams, shape: Shape) -> Needs:
        line = linear_needs(shape, len(params.penalties))
        filtering = shape.rows * params.window * (1e-9 * shape.features + 2e-7 * params.num_regimes)
        windows = 8 * params.batch_size * params.window * shape.features
        return Needs(
            memory_bytes=line.memory_bytes + shape.table_bytes + windows,
            work=params.num_regimes * line.work + filtering,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "num_regimes": Range(2, 5, integer=True),
            "num_components": Range(1, 5, integer=True),
            "sharing": Range(0.05, 1.0, log=True),
        }

    @classmethod
    def steps(cls, params: GMMRegimeParams) -> int:
        return params.window

    def fit(self, data: FitData, context: FitContext) -> Self:
        import sklearn.mixture  # noqa: F401 - what is loaded later is not capped

        params, parts = self.params, teaching_rows(data, context, self.tasks, self.params.valid_share)
        with capped(context.threads):
            # Copies: a view would keep its windows.
            newest = np.concatenate([windows[:, -1].copy() for windows in self._batches(data.x)])
            self._columns = self._telling(newest.shape[1], context)
            counts = np.flatnonzero(data.weight > 0)
            telling = newest[counts][:, self._columns].astype(np.float64)
            self._regimes = fit_regimes(
                telling, data.series[counts], params.num_regimes, params.num_components, context.seed
            )
            beliefs = np.concatenate([self._belief(windows) for windows in self._batches(data.x)])
            rows = replace(data, x=newest)
            self._experts = [
                fit_linear(self._seen_by(rows, belief), parts, self._told(context, regime), params.penalties)
                for regime, belief in enumerate(beliefs.T)
            ]
        self._levels = None if context.task == "binary" else context.quantiles
        return self

    def _belief(self, windows: FloatArray) -> Floats:
        """(n, regimes) probability of each regime at the last row of each window."""
        return self._regimes.probabilities(windows[..., self._columns])

    def _telling(self, num_features: int, context: FitContext) -> list[int]:
        """The columns that tell regimes apart; codes do not."""
        beginnings = self.params.columns
        columns = [column for column in range(num_features) if column not in context.categorical]
        names = {column: context.features[column] for column in columns if column < len(context.features)}
        for beginning in beginnings:
            if not any(name.startswith(beginning) for name in names.values()):
                raise ConfigError(
                    f"params.gmm_regime.columns must begin the name of a feature, got `{beginning}`; "
                    f"{did_you_mean(beginning, names.values())}"
                )
        if beginnings:
            return [column for column, name in names.items() if name.startswith(beginnings)]
        return [column for column, name in names.items() if _OF_VOLATILITY.search(name)] or columns

    def _seen_by(self, data: FitData, belief: Floats) -> FitData:
        """The rows with the weights that the expert of a regime gives them; `belief` (n,) is its probability."""
        share = self.params.sharing + (1 - self.params.sharing) * belief
        return replace(data, weight=(data.weight * share).astype(np.float32))

    def _told(self, context: FitContext, regime: int) -> FitContext:
        """What the expert of a regime is told: many levels, because its forecast is yet to be mixed."""
        share = 1 / self.params.num_regimes
        return replace(context, quantiles=_GRID, progress=lambda done: context.progress((regime + done) * share))

    def _batches(self, x: Samples) -> Iterator[FloatArray]:
        for start in range(0, len(x), self.params.batch_size):
            yield x[np.arange(start, min(start + self.params.batch_size, len(x)))]

    def predict(self, x: Samples) -> FloatArray:
        return np.concatenate([self._predict(windows) for windows in self._batches(x)])[:, None, :]

    def _predict(self, windows: FloatArray) -> FloatArray:
        weight = self._belief(windows)
        # (n, regimes, grid), or (n, regimes, 1) probabilities.
        experts = np.stack([expert.predict(windows[:, -1]) for expert in self._experts], axis=1)
        if self._levels is None:
            return np.asarray(np.einsum("nk,nko->no", weight, experts), dtype=np.float32)
        return mixture_quantiles(experts, weight, self._levels).astype(np.float32)

    def save(self, folder: Path) -> None:
        state = {"regimes": self._regimes.to_json(), "experts": [expert.to_json() for expert in self._experts]}
        write_params(folder, self, {**state, "columns": self._columns, "levels": self._levels})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._regimes = Regimes.from_json(state["regimes"])
        model._experts = [LinearForecast.from_json(expert) for expert in state["experts"]]
        model._columns, model._levels = state["columns"], state["levels"]
        return model
