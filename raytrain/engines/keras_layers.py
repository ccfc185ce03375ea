"""What Keras nets begin and end with: codes spread over columns, quantiles that cannot cross, and their loss.

Shapes: B batch, F features, H hidden units, O outputs, Q levels.
"""

import random
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from raytrain.engines.epochs import NetShape


def one_hot_codes(x: Any, shape: NetShape) -> Any:
    """(B, F) -> (B, F'): the columns that hold codes become a zero or one per code that training had.

    Code 0, the unseen, and codes that training had no row of are zeros everywhere: such a category says nothing.
    """
    from keras import ops

    if not shape.categories:
        return x
    coded = {column for column, _ in shape.categories}
    numbers = [column for column in range(shape.num_features) if column not in coded]
    parts = [ops.take(x, numbers, axis=1)] if numbers else []
    for column, num_codes in shape.categories:
        codes = np.arange(1, num_codes, dtype=np.float32)
        parts.append(ops.cast(ops.equal(x[:, column : column + 1], codes), "float32"))
    return ops.concatenate(parts, axis=1)


def head(hidden: Any, shape: NetShape) -> Any:
    """The last layers: rising quantiles (B, O, Q), or probabilities (B, O, 1).

    Quantiles cannot cross: the level nearest the median, and positive steps away from it. An untrained head ignores its
    inputs, because on returns a net that must first unlearn its random start ends up worse than the naive forecast.
    """
    from keras import layers, ops

    if shape.levels is None:
        probability = layers.Dense(shape.num_outputs, activation="sigmoid", kernel_initializer="zeros")
        return layers.Reshape((shape.num_outputs, 1))(probability(hidden))
    num_levels, middle = len(shape.levels), _middle(shape.levels)
    linear = layers.Dense(
        shape.num_outputs * num_levels, kernel_initializer="zeros", bias_initializer=_normal_start(shape)
    )
    raw = layers.Reshape((shape.num_outputs, num_levels))(linear(hidden))
    rising = [raw[..., middle : middle + 1]]
    for i in range(middle + 1, num_levels):
        rising.append(rising[-1] + ops.softplus(raw[..., i : i + 1]))
    for i in reversed(range(middle)):
        rising.insert(0, rising[0] - ops.softplus(raw[..., i : i + 1]))
    return ops.concatenate(rising, axis=-1)


def _middle(levels: Sequence[float]) -> int:
    """The place of the level nearest the median."""
    return min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))


def _normal_start(shape: NetShape) -> Any:
    """The bias for which every output is standard normal, as targets divided by their deviation nearly are."""
    from keras import initializers

    assert shape.levels is not None
    normal = np.array([NormalDist().inv_cdf(level) for level in shape.levels])
    middle, steps = _middle(shape.levels), np.log(np.expm1(np.diff(normal)))
    bias = np.concatenate([steps[:middle], normal[[middle]], steps[middle:]])
    return initializers.Constant(np.tile(bias, shape.num_outputs).astype(np.float32))


def dense_stack(hidden: Any, widths: Iterable[int], dropout: float) -> Any:
    """(..., F) -> (..., H): dense layers with GELU (Hendrycks & Gimpel 2016), each with dropout."""
    from keras import layers

    for units in widths:
        hidden = dropout_layer(dropout)(layers.Dense(units, activation="gelu")(hidden))
    return hidden


def dropout_layer(rate: float) -> Any:
    """Dropout with a seed of its own.

    Without one Keras on torch would draw from the process's generator, which is no part of what a learner saves.
    """
    from keras import layers

    return layers.Dropout(rate, seed=random.randrange(2**31))


def output_loss(shape: NetShape, y: Any, predicted: Any) -> Any:
    """(B, O) pinball loss averaged over levels (Koenker & Bassett 1978), or binary cross entropy. Lower is better."""
    from keras import ops

    target = ops.expand_dims(y, -1)
    if shape.levels is None:
        return ops.squeeze(ops.binary_crossentropy(target, predicted), -1)
    level, error = ops.convert_to_tensor(shape.levels, dtype="float32"), target - predicted
    return ops.mean(ops.maximum(level * error, (level - 1) * error), axis=-1)
