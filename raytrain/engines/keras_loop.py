"""Keras on TensorFlow behind the training loop: gradient steps, predictions, files. Used in keras processes only."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raytrain.engines.base import FitContext, FloatArray
from raytrain.engines.epochs import Forward, Learner, NetParams, NetShape

_FILE = "net.keras"


def prepare(context: FitContext) -> None:
    """Seed, cap the threads, be deterministic, and forget the nets of earlier fits.

    Raises:
        RuntimeError: TensorFlow has started with another number of threads; a process serves one number.
    """
    import keras
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() != context.threads:
        threading.set_intra_op_parallelism_threads(context.threads)
    if threading.get_inter_op_parallelism_threads() != 1:
        threading.set_inter_op_parallelism_threads(1)
    if context.device != "cuda" and tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    tf.get_logger().setLevel("ERROR")  # each fit is a new graph, which TensorFlow takes for careless retracing
    keras.backend.clear_session()
    keras.utils.set_random_seed(context.seed)
    tf.config.experimental.enable_op_determinism()


def head(hidden: Any, shape: NetShape) -> Any:
    """The last layers: rising quantiles (batch, outputs, levels), or probabilities (batch, outputs, 1).

    Quantiles cannot cross: the level nearest the median, and positive steps away from it.
    """
    from keras import layers, ops

    if shape.levels is None:
        return layers.Reshape((shape.num_outputs, 1))(layers.Dense(shape.num_outputs, activation="sigmoid")(hidden))
    levels, num_levels = shape.levels, len(shape.levels)
    middle = min(range(num_levels), key=lambda i: abs(levels[i] - 0.5))
    raw = layers.Reshape((shape.num_outputs, num_levels))(layers.Dense(shape.num_outputs * num_levels)(hidden))
    rising = [raw[..., middle : middle + 1]]
    for i in range(middle + 1, num_levels):
        rising.append(rising[-1] + ops.softplus(raw[..., i : i + 1]))
    for i in reversed(range(middle)):
        rising.insert(0, rising[0] - ops.softplus(raw[..., i : i + 1]))
    return ops.concatenate(rising, axis=-1)


def learner(net: Any, shape: NetShape, params: NetParams, context: FitContext) -> Learner:
    """The net with its optimiser and loss."""
    return _KerasLearner(net, shape, params)


def forward(net: Any, shape: NetShape) -> Forward:
    """The net as a function of one batch."""
    net.jit_compile = False  # for one small batch, compiling costs more than it saves
    return lambda x: np.asarray(net.predict_on_batch(x), dtype=np.float32)


def save(net: Any, folder: Path) -> None:
    """Write the net in Keras' own format."""
    with warnings.catch_warnings():
        # TensorFlow 2.21 does not know the `copy` keyword that numpy 2 passes to `__array__`.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        net.save(folder / _FILE)


def load(build: Callable[[], Any], folder: Path) -> Any:
    """The net that `save` wrote; safe mode refuses code in the file."""
    import keras

    return keras.saving.load_model(folder / _FILE, compile=False, safe_mode=True)


class _KerasLearner:
    def __init__(self, net: Any, shape: NetShape, params: NetParams) -> None:
        import keras

        self._net = net
        # A second model over the same layers, so that the one that is saved carries no optimiser.
        self._trained = keras.Model(net.inputs, net.outputs)
        self._trained.compile(
            optimizer=keras.optimizers.AdamW(
                params.learning_rate, weight_decay=params.weight_decay, global_clipnorm=params.clip_norm
            ),
            loss=_loss(shape.levels),
            jit_compile=False,  # compiling costs seconds, a fit of this size milliseconds per epoch
        )

    def step(self, x: FloatArray, y: FloatArray, weight: FloatArray, rate: float) -> float:
        self._trained.optimizer.learning_rate = rate
        return float(self._trained.train_on_batch(x, y[..., None], sample_weight=weight))

    def predict(self, x: FloatArray) -> FloatArray:
        return np.asarray(self._trained.predict_on_batch(x), dtype=np.float32)

    def snapshot(self) -> list[Any]:
        return [variable.value.numpy() for variable in self._net.weights]

    def restore(self, snapshot: Sequence[Any]) -> None:
        for variable, value in zip(self._net.weights, snapshot, strict=True):
            variable.assign(value)


def _loss(levels: tuple[float, ...] | None) -> Callable[[Any, Any], Any]:
    """(batch,) pinball loss (Koenker & Bassett 1978) or binary cross entropy, averaged over outputs and levels."""
    from keras import ops

    def cross_entropy(y: Any, probability: Any) -> Any:
        return ops.mean(ops.binary_crossentropy(y, probability), axis=(1, 2))

    def pinball(y: Any, predicted: Any) -> Any:
        level = np.array(levels, dtype=np.float32)
        error = y - predicted
        return ops.mean(ops.maximum(level * error, (level - 1) * error), axis=(1, 2))

    return cross_entropy if levels is None else pinball
