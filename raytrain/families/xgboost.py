"""XGBoost on the mean, or on the probability of a label."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Needs, Params, Range, Samples, Shape, Space
from raytrain.engines.files import read_params, write_params
from raytrain.engines.native import Rounds, expected_rounds, table, useful_threads
from raytrain.engines.training import log_loss, relative_weights, teaching_rows

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

    @classmethod
    def needs(cls, params: XGBoostParams, shape: Shape) -> Needs:
        # Measured with XGBoost 3.2 from 4,000 x 50 to 30,000 x 400 values, depths 4 to 8. Every open node holds a
        # histogram of 256 bins of two doubles per column.
        nodes = min(2**params.max_depth, shape.rows)
        values = shape.rows * shape.features
        round_s = 1.5e-6 * nodes * shape.features + 0.7e-9 * values * params.max_depth
        rounds = expected_rounds(params.num_rounds, params.early_stopping_rounds, params.valid_share)
        return Needs(
            max_threads=useful_threads(shape),
            memory_bytes=10 * 2**20 + 6 * shape.table_bytes + 4096 * nodes * shape.features,
            work=0.16e-6 * values + rounds * round_s,
        )

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
        import xgboost

        head, tail = teaching_rows(data, context, self.tasks, self.params.valid_share)
        x, y = table(data, head)
        matrix = xgboost.QuantileDMatrix(x, y, weight=relative_weights(data, head), nthread=context.threads)
        aside = None
        if len(tail):
            x_tail, y_tail = table(data, tail)
            aside = xgboost.QuantileDMatrix(x_tail, y_tail, ref=matrix, nthread=context.threads)
        booster = xgboost.Booster(self._settings(context), [matrix] if aside is None else [matrix, aside])
        rounds = Rounds(self.params.num_rounds, self.params.early_stopping_rounds, context)
        stop = False
        while not stop:
            booster.update(matrix, booster.num_boosted_rounds())
            # XGBoost keeps this prediction from round to round, so the loss costs next to nothing.
            loss = None if aside is None else _loss(y_tail, booster.predict(aside), data.weight[tail], context)
            stop = rounds.stop_after(loss)
        self._booster = booster[: rounds.best]
        return self

    def _settings(self, context: FitContext) -> dict[str, Any]:
        return {
            **self.params.model_dump(exclude={"num_rounds", "early_stopping_rounds", "valid_share"}),
            "objective": "binary:logistic" if context.task == "binary" else "reg:squarederror",
            "tree_method": "hist",
            "seed": context.seed,
            "nthread": context.threads,
        }

    def predict(self, x: Samples) -> FloatArray:
        return np.asarray(self._booster.inplace_predict(x[:]), dtype=np.float32)[:, None, None]

    def save(self, folder: Path) -> None:
        write_params(folder, self, {})
        self._booster.save_model(folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        import xgboost

        model, _ = read_params(folder, cls)
        model._booster = xgboost.Booster({"nthread": 1}, model_file=folder / _FILE)
        return model


def _loss(y: NDArray[np.float64], predicted: FloatArray, weight: FloatArray, context: FitContext) -> float:
    """The weighted mean of squared errors, or of log losses."""
    loss = log_loss(y, predicted) if context.task == "binary" else (y - predicted) ** 2
    return float(np.average(loss, weights=weight))
