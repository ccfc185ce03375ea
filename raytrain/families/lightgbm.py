"""LightGBM on the mean, or on the probability of a label."""

from pathlib import Path
from typing import Any, Self

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

_FILE = "model.txt"


class LightGBMParams(Params):
    """Parameters, named as LightGBM names them."""

    num_leaves: int = Field(31, ge=2, le=4096)
    """Leaves in a tree, at most."""
    max_depth: int = Field(6, ge=1, le=64)
    """Splits from root to leaf, at most."""
    learning_rate: float = Field(0.05, gt=0, le=1)
    """Share of each tree's step that is taken."""
    num_rounds: int = Field(1500, ge=1, le=100_000)
    """Trees, at most."""
    min_data_in_leaf: int = Field(20, ge=1)
    """Training rows in a leaf, at least."""
    feature_fraction: float = Field(1.0, gt=0, le=1)
    """Share of the columns each tree sees."""
    early_stopping_rounds: int = Field(50, ge=1)
    """Rounds without a lower loss on the rows kept aside before boosting stops."""
    valid_share: float = Field(0.15, ge=0, le=0.5)
    """Newest share of the training dates kept aside for early stopping; 0 grows all rounds on all rows."""


class LightGBM(Family[LightGBMParams]):
    """Gradient-boosted trees on squared error, or on log loss under a binary target (Ke et al. 2017)."""

    name = "lightgbm"
    engine = "native"
    lane = "cores"
    params_type = LightGBMParams
    tasks = frozenset({"regression", "binary"})
    packages = ("lightgbm",)
    version = 2

    @classmethod
    def needs(cls, params: LightGBMParams, shape: Shape) -> Needs:
        rounds = expected_rounds(params.num_rounds, params.early_stopping_rounds, params.valid_share)
        return booster_needs(shape, rounds, params.num_leaves)

    @classmethod
    def space(cls) -> Space:
        return {
            "num_leaves": Range(4, 63, log=True, integer=True),
            "learning_rate": Range(0.01, 0.1, log=True),
            "min_data_in_leaf": Range(10, 400, log=True, integer=True),
            "feature_fraction": Range(0.3, 1.0),
        }

    def fit(self, data: FitData, context: FitContext) -> Self:
        params = self.params
        head, tail = teaching_rows(data, context, self.tasks, params.valid_share)
        settings: dict[str, Any] = {
            "objective": "binary" if context.task == "binary" else "regression",
            **params.model_dump(include={"num_leaves", "max_depth", "learning_rate", "min_data_in_leaf"}),
            "feature_fraction": params.feature_fraction,
        }
        binned = Binned(data, head, tail, context)
        self._booster = TextBooster.train(binned, settings, params.num_rounds, params.early_stopping_rounds, context)
        return self

    def predict(self, x: Samples) -> FloatArray:
        return self._booster.predict(x)[:, None, None]

    def to_onnx(self, x: FloatArray) -> OnnxModel | str:
        return OnnxModel(content=lightgbm_graph([self._booster.native], x.shape[1]))

    def save(self, folder: Path) -> None:
        write_params(folder, self, {})
        self._booster.save(folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, _ = read_params(folder, cls)
        model._booster = TextBooster.load(folder / _FILE)
        return model
