"""NGBoost: a normal distribution per row, or a probability."""

import zipfile
from contextlib import suppress
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
    Params,
    Range,
    RowIndices,
    Samples,
    Shape,
    Space,
)
from raytrain.engines.files import read_params, write_params
from raytrain.engines.native import Rounds, expected_rounds, skops_io, table
from raytrain.engines.training import relative_weights, teaching_rows
from raytrain.errors import StoreCorrupt
from raytrain.features.volatility import VolatilityKind

_FILE = "model.skops"

_TRUSTED = frozenset(
    {
        "ngboost.api.NGBClassifier",
        "ngboost.api.NGBRegressor",
        "ngboost.distns.normal.Normal",
        "ngboost.scores.LogScore",
        "sklearn.tree._tree.Tree",
    }
)
"""All that a model file may be made of, besides what skops itself trusts."""


class NGBoostParams(Params):
    """Parameters. Each round fits one tree per parameter of the distribution, so rounds are dear."""

    scale: VolatilityKind = "har"
    """The volatility forecast that targets are divided by."""
    num_rounds: int = Field(100, ge=1, le=100_000)
    """Boosting rounds, at most."""
    learning_rate: float = Field(0.04, gt=0, le=1)
    """Share of each round's natural-gradient step that is taken."""
    minibatch_frac: float = Field(0.5, gt=0, le=1)
    """Share of the rows each round sees."""
    col_sample: float = Field(0.4, gt=0, le=1)
    """Share of the columns each round sees."""
    max_depth: int = Field(3, ge=1, le=32)
    """Splits from root to leaf, at most."""
    min_samples_leaf: int = Field(20, ge=1)
    """Training rows in a leaf, at least."""
    early_stopping_rounds: int = Field(20, ge=1)
    """Rounds without a lower loss on the rows kept aside before boosting stops."""
    valid_share: float = Field(0.15, ge=0, le=0.5)
    """Newest share of the training dates kept aside for early stopping; 0 runs all rounds on all rows."""


class _Enough(Exception):
    """Raised out of NGBoost's loop, which has no other way to be stopped."""


class NGBoost(Family[NGBoostParams]):
    """Natural-gradient boosting of a normal distribution, of a Bernoulli under a binary target (Duan et al. 2020)."""

    name = "ngboost"
    engine = "native"
    lane = "cores"
    params_type = NGBoostParams
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})
    packages = ("ngboost", "scikit-learn")
    no_onnx = "no converter knows NGBoost: neither onnxmltools nor skl2onnx"

    @classmethod
    def needs(cls, params: NGBoostParams, shape: Shape) -> Needs:
        # Measured with NGBoost 0.5.11 at 4,000 x 50 and 60,000 x 150 values: sorting the sampled values for two trees.
        sampled = params.minibatch_frac * params.col_sample * shape.rows * shape.features
        rounds = expected_rounds(params.num_rounds, params.early_stopping_rounds, params.valid_share)
        return Needs(
            memory_bytes=int(3 * 2**20 + 3.2 * shape.table_bytes),
            work=rounds * (0.002 + 0.14e-6 * params.max_depth * sampled),
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "learning_rate": Range(0.01, 0.1, log=True),
            "max_depth": Range(2, 4, integer=True),
            "min_samples_leaf": Range(10, 400, log=True, integer=True),
            "col_sample": Range(0.2, 1.0),
        }

    def fit(self, data: FitData, context: FitContext) -> Self:
        head, tail = teaching_rows(data, context, self.tasks, self.params.valid_share)
        x, y = _table(data, head, context)
        # Without rows aside, one training row keeps NGBoost calling the monitor after each round.
        x_aside, y_aside = _table(data, tail if len(tail) else head[:1], context)
        weight_aside = data.weight[tail] if len(tail) else None
        rounds = Rounds(self.params.num_rounds, self.params.early_stopping_rounds, context)

        def after_round(predicted: Any, actual: Any) -> float:
            loss = float(predicted.total_score(actual, sample_weight=weight_aside))
            if rounds.stop_after(loss if len(tail) else None):
                raise _Enough
            return loss

        model = self._untrained(context)
        weight = relative_weights(data, head)
        with suppress(_Enough):
            model.fit(x, y, x_aside, y_aside, sample_weight=weight, val_loss_monitor=after_round)
        for grown in (model.base_models, model.scalings, model.col_idxs):
            del grown[rounds.best :]
        self._model, self._levels = model, None if context.task == "binary" else context.quantiles
        return self

    def _untrained(self, context: FitContext) -> Any:
        from ngboost import NGBClassifier, NGBRegressor
        from sklearn.tree import DecisionTreeRegressor

        params = self.params
        # Seeded, because a tree breaks ties between columns at random.
        tree = DecisionTreeRegressor(
            max_depth=params.max_depth, min_samples_leaf=params.min_samples_leaf, random_state=context.seed
        )
        kind = NGBClassifier if context.task == "binary" else NGBRegressor
        return kind(
            Base=tree,
            n_estimators=params.num_rounds,
            **params.model_dump(include={"learning_rate", "minibatch_frac", "col_sample"}),
            verbose=False,
            random_state=context.seed,
        )

    def predict(self, x: Samples) -> FloatArray:
        from scipy.stats import norm

        if self._levels is None:
            probability: FloatArray = self._model.predict_proba(x[:])[:, 1].astype(np.float32)
            return probability[:, None, None]
        normal = self._model.pred_dist(x[:]).params
        spread = norm.ppf(self._levels) * normal["scale"][:, None]
        quantiles: FloatArray = (normal["loc"][:, None] + spread).astype(np.float32)
        return quantiles[:, None, :]

    def save(self, folder: Path) -> None:
        io = skops_io()
        write_params(folder, self, {"levels": self._levels})
        io.dump(self._model, folder / _FILE, compression=zipfile.ZIP_DEFLATED)

    @classmethod
    def load(cls, folder: Path) -> Self:
        io = skops_io()
        model, state = read_params(folder, cls)
        strange = set(io.get_untrusted_types(file=folder / _FILE)) - _TRUSTED
        if strange:
            raise StoreCorrupt(
                f"{folder / _FILE} holds {', '.join(sorted(strange))}, which no NGBoost model is made of"
            )
        model._model = io.load(folder / _FILE, trusted=sorted(_TRUSTED))
        model._levels = state["levels"]
        return model


def _table(data: FitData, rows: RowIndices, context: FitContext) -> tuple[FloatArray, NDArray[Any]]:
    x, y = table(data, rows)
    return x, y.astype(np.int64) if context.task == "binary" else y
