"""LightGBM on quantiles: one booster per level over one binned table."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
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
from raytrain.engines.lightgbm_booster import Binned, TextBooster, booster_needs
from raytrain.engines.native import expected_rounds
from raytrain.engines.onnx_graphs import lightgbm_graph
from raytrain.engines.training import teaching_rows
from raytrain.features.volatility import VolatilityKind

_LEARNER = {
    "num_leaves",
    "max_depth",
    "learning_rate",
    "min_data_in_leaf",
    "feature_fraction",
    "bagging_fraction",
    "bagging_freq",
}
"""Parameters that the library is given."""


class LightGBMQuantileParams(Params):
    """Parameters, named as LightGBM names them."""

    scale: VolatilityKind = "har"
    """The volatility forecast that targets are divided by."""
    num_leaves: int = Field(31, ge=2, le=4096)
    """Leaves in a tree, at most."""
    max_depth: int = Field(10, ge=1, le=64)
    """Splits from root to leaf, at most."""
    learning_rate: float = Field(0.05, gt=0, le=1)
    """Share of each tree's step that is taken."""
    num_rounds: int = Field(200, ge=1, le=100_000)
    """Trees per quantile level, at most."""
    min_data_in_leaf: int = Field(20, ge=1)
    """Training rows in a leaf, at least."""
    feature_fraction: float = Field(0.8, gt=0, le=1)
    """Share of the columns each tree sees."""
    bagging_fraction: float = Field(0.8, gt=0, le=1)
    """Share of the rows each tree sees."""
    bagging_freq: int = Field(5, ge=0)
    """Rounds between two drawings of those rows; 0 never draws."""
    early_stopping_rounds: int = Field(10, ge=1)
    """Rounds without a lower loss on the rows kept aside before boosting stops."""
    valid_share: float = Field(0.15, ge=0, le=0.5)
    """Newest share of the training dates kept aside for early stopping; 0 grows all rounds on all rows."""


class LightGBMQuantile(Family[LightGBMQuantileParams]):
    """Gradient-boosted trees on the pinball loss of each level.

    The levels are fitted apart and may cross; sorting them lowers the loss or leaves it (Chernozhukov, Fernández-Val &
    Galichon 2010).
    """

    name = "lightgbm_quantile"
    engine = "native"
    lane = "cores"
    params_type = LightGBMQuantileParams
    gives_quantiles = True
    packages = ("lightgbm",)
    version = 2

    @classmethod
    def needs(cls, params: LightGBMQuantileParams, shape: Shape) -> Needs:
        rounds = expected_rounds(params.num_rounds, params.early_stopping_rounds, params.valid_share)
        return booster_needs(shape, rounds, params.num_leaves, num_boosters=shape.quantiles)

    @classmethod
    def space(cls) -> Space:
        return {
            "num_leaves": Range(4, 63, log=True, integer=True),
            "learning_rate": Range(0.01, 0.1, log=True),
            "min_data_in_leaf": Range(10, 400, log=True, integer=True),
            "feature_fraction": Range(0.3, 1.0),
            "bagging_fraction": Range(0.5, 1.0),
        }

    def fit(self, data: FitData, context: FitContext) -> Self:
        head, tail = teaching_rows(data, context, self.tasks, self.params.valid_share)
        binned = Binned(data, head, tail, context)
        self._boosters = [self._fit_level(binned, index, context) for index in range(len(context.quantiles))]
        return self

    def _fit_level(self, binned: Binned, index: int, context: FitContext) -> TextBooster:
        share = 1 / len(context.quantiles)
        settings: dict[str, Any] = {
            "objective": "quantile",
            "alpha": context.quantiles[index],
            **self.params.model_dump(include=_LEARNER),
        }
        shown = replace(context, progress=lambda done: context.progress((index + done) * share))
        return TextBooster.train(binned, settings, self.params.num_rounds, self.params.early_stopping_rounds, shown)

    def predict(self, x: Samples) -> FloatArray:
        levels = np.stack([booster.predict(x) for booster in self._boosters], axis=-1)
        return np.sort(levels, axis=-1)[:, None, :]

    def to_onnx(self, x: FloatArray) -> OnnxModel | str:
        return OnnxModel(content=lightgbm_graph([booster.native for booster in self._boosters], x.shape[1]))

    def save(self, folder: Path) -> None:
        write_params(folder, self, {"num_levels": len(self._boosters)})
        for index, booster in enumerate(self._boosters):
            booster.save(folder / f"level-{index}.txt")

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._boosters = [TextBooster.load(folder / f"level-{index}.txt") for index in range(state["num_levels"])]
        return model
