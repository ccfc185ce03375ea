"""One XGBoost booster: its data, its rounds, and what a fit of it takes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FitContext, FitData, FloatArray, Needs, Shape
from raytrain.engines.native import Rounds, table, useful_threads
from raytrain.engines.training import TeachingRows, relative_weights

LEARNER = {"max_depth", "learning_rate", "min_child_weight", "subsample", "colsample_bytree", "reg_lambda"}
"""Parameters of a family that are named as XGBoost names them."""

Loss = Callable[[NDArray[np.float64], FloatArray], NDArray[np.float64]]
"""(n,) loss of each row from the targets (n,) and the predictions, lower is better."""


def boost(
    data: FitData,
    parts: TeachingRows,
    context: FitContext,
    settings: Mapping[str, Any],
    loss: Loss,
    *,
    num_rounds: int,
    patience: int,
) -> Any:
    """Boost until the weighted loss of the rows kept aside has not fallen for `patience` rounds, or until told to stop.

    Columns of codes are split by sets of categories; a code that training has not seen goes where the split sends all
    categories that it does not name.

    Returns:
        The booster up to its best round.
    """
    import xgboost

    x, y = table(data, parts.head)
    kinds = ["c" if column in context.categorical else "q" for column in range(x.shape[1])]
    shared = {"feature_types": kinds, "enable_categorical": True, "nthread": context.threads}
    matrix = xgboost.QuantileDMatrix(x, y, weight=relative_weights(data, parts.head), **shared)
    aside, y_aside = None, np.empty(0)
    if len(parts.tail):
        x, y_aside = table(data, parts.tail)
        # Not binned like the training rows: there is no bin for a category that they do not have.
        aside = xgboost.DMatrix(x, y_aside, **shared)
    common = {"tree_method": "hist", "seed": context.seed, "nthread": context.threads}
    booster = xgboost.Booster({**settings, **common}, [matrix] if aside is None else [matrix, aside])
    rounds, stop = Rounds(num_rounds, patience, context), False
    while not stop:
        booster.update(matrix, booster.num_boosted_rounds())
        # XGBoost keeps this prediction from round to round, so the loss costs next to nothing.
        losses = None if aside is None else loss(y_aside, booster.predict(aside))
        stop = rounds.stop_after(None if losses is None else float(np.average(losses, weights=data.weight[parts.tail])))
    return booster[: rounds.best]


def load_booster(path: Path) -> Any:
    """Read a saved booster."""
    import xgboost

    return xgboost.Booster({"nthread": 1}, model_file=path)


def booster_needs(shape: Shape, num_rounds: float, max_depth: int, num_trees: int = 1) -> Needs:
    """Measured with XGBoost 3.2 from 4,000 x 50 to 30,000 x 400 values, depths 3 to 8.

    Every open node holds a histogram of 256 bins of two doubles per column.

    Args:
        num_trees: grown in a round.
    """
    nodes = min(2**max_depth, shape.rows)
    values = shape.rows * shape.features
    tree_s = 1.5e-6 * nodes * shape.features + 0.7e-9 * values * max_depth
    return Needs(
        max_threads=useful_threads(shape),
        memory_bytes=10 * 2**20 + 6 * shape.table_bytes + 4096 * nodes * shape.features,
        work=0.16e-6 * values + num_rounds * num_trees * tree_s,
    )
