"""XGBoost on the mean, or on the probability of a label."""

from pathlib import Path
from typing import Any, Self

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
from raytrain.engines.native import expected_rounds
from raytrain.engines.onnx_graphs import xgboost_graph
from raytrain.engines.training import log_loss, teaching_rows
from raytrain.engines.xgboost_booster import LEARNER, boost, booster_needs, load_booster

_FILE = "model.ubj"


class XGBoostParams(Params):
    """Parameters, named as XGBoost names them."""

    max_depth: int = Field(8, ge=1, le=64)
    """Splits from root to leaf, at most."""
    learning_rate: float = Field(0.03, gt=0, le=1)
    """Share of each tree's step that is taken."""
    num_rounds: int = Field(1000, ge=1, le=100_000)
    """Trees, at most."""
    min_child_weight: float = Field(1.0, ge=0)
    """Sum of the rows' weights in a leaf, at least; the weights of a fit have mean 1."""
    subsample: float = Field(1.0, gt=0, le=1)
    """Share of the rows each tree sees."""
    colsample_bytree: float = Field(1.0, gt=0, le=1)
    """Share of the columns each tree sees."""
    reg_lambda: float = Field(1.0, ge=0)
    """L2 penalty on leaf values, in units of row weight."""
    early_stopping_rounds: int = Field(30, ge=1)
    """Rounds without a lower loss on the rows kept aside before boosting stops."""
    valid_share: float = Field(0.15, ge=0, le=0.5)
    """Newest share of the training dates kept aside for early stopping; 0 grows all rounds on all rows."""


class XGBoost(Family[XGBoostParams]):
    """Histogram gradient boosting on squared error, or on log loss under a binary target (Chen & Guestrin 2016)."""

    name = "xgboost"
    engine = "native"
    lane = "cores"
    params_type = XGBoostParams
    tasks = frozenset({"regression", "binary"})
    packages = ("xgboost",)
    version = 2

    @classmethod
    def needs(cls, params: XGBoostParams, shape: Shape) -> Needs:
        rounds = expected_rounds(params.num_rounds, params.early_stopping_rounds, params.valid_share)
        return booster_needs(shape, rounds, params.max_depth)

    @classmethod
    def space(cls) -> Space:
        return {
            "max_depth": Range(2, 8, integer=True),
            "learning_rate": Range(0.01, 0.1, log=True),
            "min_child_weight": Range(1, 400, log=True),
            "subsample": Range(0.5, 1.0),
            "colsample_bytree": Range(0.3, 1.0),
        }

    def fit(self, data: FitData, context: FitContext) -> Self:
        params = self.params
        parts = teaching_rows(data, context, self.tasks, params.valid_share)
        binary = context.task == "binary"
        settings: dict[str, Any] = {
            "objective": "binary:logistic" if binary else "reg:squarederror",
            **params.model_dump(include=LEARNER),
        }
        loss = log_loss if binary else _squared
        length = {"num_rounds": params.num_rounds, "patience": params.early_stopping_rounds}
        self._booster = boost(data, parts, context, settings, loss, **length)
        return self

    def predict(self, x: Samples) -> FloatArray:
        return np.asarray(self._booster.inplace_predict(x[:]), dtype=np.float32)[:, None, None]

    def to_onnx(self, x: FloatArray) -> OnnxModel | str:
        return OnnxModel(content=xgboost_graph(self._booster, x.shape[1]))

    def save(self, folder: Path) -> None:
        write_params(folder, self, {})
        self._booster.save_model(folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, _ = read_params(folder, cls)
        model._booster = load_booster(folder / _FILE)
        return model


def _squared(y: NDArray[np.float64], predicted: FloatArray) -> NDArray[np.float64]:
    return (y - predicted) ** 2
