"""Keras behind the training loop: gradient steps, predictions, files. Used in keras processes only.

The backend is TensorFlow or torch, as the process's environment says. What differs between them is in `prepare` and
`_compiled`. Shapes: B batch, F features, O outputs, Q levels.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from raytrain.engines.base import FitContext, FloatArray
from raytrain.engines.epochs import Forward, Learner, NetParams, NetShape
from raytrain.engines.keras_layers import output_loss
from raytrain.errors import WrongEngine

_NET_FILE = "net.safetensors"
_STATE_FILE = "learner.safetensors"

RowLoss = Callable[[Any, Any, Any], Any]
"""(inputs (B, F), targets (B, O), gradient steps taken so far) -> (B,) the loss of each row."""


@dataclass(frozen=True)
class Part:
    """Variables that learn together, and what they lower."""

    row_loss: RowLoss
    variables: Sequence[Any]
    """Keras variables that the loss reads or changes: the trainable ones learn, the others (seeds, norms) are kept."""
    pace: float = 1.0
    """Multiple of the learning rate."""


@dataclass(frozen=True)
class Net:
    """What predicts, and what is trained so that it predicts well."""

    model: Any
    """keras.Model: (B, F) -> quantiles (B, O, Q) that rise, or probabilities (B, O, 1). What is saved."""
    parts: Sequence[Part]
    """Trained in turn: every batch is a gradient step of each."""


def prepare(context: FitContext) -> None:
    """Seed, cap the threads, be deterministic, and forget the nets of earlier fits.

    Raises:
        WrongEngine: Keras runs on another backend than TensorFlow and torch.
        RuntimeError: TensorFlow has started with another number of threads; a process serves one number.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        _prepare_tensorflow(context)
    elif backend == "torch":
        from raytrain.engines import torch_loop

        torch_loop.prepare(context)
    else:
        raise WrongEngine(f"KERAS_BACKEND must be tensorflow or torch, got {backend}; set it before Keras is imported")
    keras.backend.clear_session()
    # Layers draw their seeds from Python's generator. `keras.utils.set_random_seed` would load TensorFlow beside torch.
    random.seed(context.seed)


def _prepare_tensorflow(context: FitContext) -> None:
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() != context.threads:
        threading.set_intra_op_parallelism_threads(context.threads)
    if threading.get_inter_op_parallelism_threads() != 1:
        threading.set_inter_op_parallelism_threads(1)
    if context.device != "cuda" and tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    tf.get_logger().setLevel("ERROR")  # each fit is a new graph, which TensorFlow takes for careless retracing
    tf.config.experimental.enable_op_determinism()


def plain(model: Any, shape: NetShape) -> Net:
    """A model that is trained on nothing but the loss of its predictions, the same for every output."""
    from keras import ops

    def row_loss(x: Any, y: Any, step: Any) -> Any:
        return ops.mean(output_loss(shape, y, model(x, training=True)), axis=1)

    return Net(model, [Part(row_loss, model.variables)])


def learner(net: Net, shape: NetShape, params: NetParams, context: FitContext) -> Learner:
    """The net with an optimiser for each of its parts."""
    return _KerasLearner(net, params)


def forward(net: Net, shape: NetShape) -> Forward:
    """The net as a function of one batch."""
    predict = _compiled(lambda x: net.model(x, training=False))
    return lambda x: _array(predict(_tensor(x)))


def to_onnx(net: Net, shape: NetShape, x: FloatArray) -> bytes:
    """A graph for any number of rows, by tf2onnx or by torch's exporter, as the backend is."""
    import keras

    from raytrain.engines import keras_onnx

    if keras.backend.backend() == "torch":
        return keras_onnx.from_torch(net.model, x)
    return keras_onnx.from_tensorflow(net.model, shape.num_features)


def save(net: Net, folder: Path) -> None:
    """Write the weights of what predicts as safetensors."""
    _write(net.model.weights, folder / _NET_FILE)


def load(build: Callable[[], Net], folder: Path) -> Net:
    """An untrained net, given the weights that `save` wrote, on either backend."""
    net = build()
    _read(net.model.weights, folder / _NET_FILE)
    return net


class _KerasLearner:
    def __init__(self, net: Net, params: NetParams) -> None:
        self._net = net
        self._optimizers = [_optimizer(part, params) for part in net.parts]
        self._steps = [_gradient_step(*pair) for pair in zip(net.parts, self._optimizers, strict=True)]
        self._forward = _compiled(lambda x: net.model(x, training=False))

    def step(self, x: FloatArray, y: FloatArray, weight: FloatArray, rate: float) -> SupportsFloat:
        for part, optimizer in zip(self._net.parts, self._optimizers, strict=True):
            optimizer.learning_rate = part.pace * rate
        tensors = _tensor(x), _tensor(y), _tensor(weight)
        # NaN in any part is NaN in the sum.
        loss: SupportsFloat = sum(step(*tensors) for step in self._steps)
        return loss

    def predict(self, x: FloatArray) -> FloatArray:
        return _array(self._forward(_tensor(x)))

    def snapshot(self) -> list[FloatArray]:
        return [_array(variable.value).copy() for variable in self._net.model.weights]

    def restore(self, snapshot: Any) -> None:
        for variable, value in zip(self._net.model.weights, snapshot, strict=True):
            variable.assign(value)

    def save_state(self, folder: Path) -> None:
        _write(self._state(), folder / _STATE_FILE)

    def load_state(self, folder: Path) -> None:
        _read(self._state(), folder / _STATE_FILE)

    def _state(self) -> list[Any]:
        """Every variable once: of the model, of the parts (with the seeds of their noise), of the optimisers."""
        parts = [variable for part in self._net.parts for variable in part.variables]
        slots = [variable for optimizer in self._optimizers for variable in optimizer.variables]
        return list({id(variable): variable for variable in [*self._net.model.variables, *parts, *slots]}.values())


def _optimizer(part: Part, params: NetParams) -> Any:
    import keras

    optimizer = keras.optimizers.AdamW(
        params.learning_rate, weight_decay=params.weight_decay, global_clipnorm=params.clip_norm
    )
    optimizer.build(_trainable(part))
    return optimizer


def _trainable(part: Part) -> list[Any]:
    return [variable for variable in part.variables if variable.trainable]


def _gradient_step(part: Part, optimizer: Any) -> Callable[..., Any]:
    """A function (x, y, weight) -> weighted mean loss of the batch, which takes a step down its gradient."""
    import keras
    from keras import ops

    variables = _trainable(part)

    def mean_loss(x: Any, y: Any, weight: Any) -> Any:
        return ops.mean(part.row_loss(x, y, ops.cast(optimizer.iterations, "float32")) * weight)

    if keras.backend.backend() == "torch":
        return _torch_step(mean_loss, variables, optimizer)
    return _tensorflow_step(mean_loss, variables, optimizer)


def _torch_step(mean_loss: Callable[..., Any], variables: list[Any], optimizer: Any) -> Callable[..., Any]:
    import torch

    def step(*batch: Any) -> Any:
        loss = mean_loss(*batch)
        gradients = torch.autograd.grad(loss, [variable.value for variable in variables])
        with torch.no_grad():
            optimizer.apply(gradients, variables)
        return loss.detach()

    return step


def _tensorflow_step(mean_loss: Callable[..., Any], variables: list[Any], optimizer: Any) -> Callable[..., Any]:
    import tensorflow as tf

    def step(*batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = mean_loss(*batch)
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    return _compiled(step)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """As a graph where the backend has one, and without gradients where it would keep them."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        without: Callable[..., Any] = torch.no_grad()(function)
        return without
    import tensorflow as tf

    # No XLA: compiling costs seconds, an epoch of a fit of this size milliseconds.
    graph: Callable[..., Any] = tf.function(function, autograph=False, jit_compile=False)
    return graph


def _tensor(values: FloatArray) -> Any:
    from keras import ops

    return ops.convert_to_tensor(values, dtype="float32")


def _array(tensor: Any) -> FloatArray:
    """Not `ops.convert_to_numpy`: neither backend knows the `copy` keyword that numpy 2 passes to `__array__`."""
    array: FloatArray = (tensor.detach().cpu() if hasattr(tensor, "detach") else tensor).numpy()
    return array


def _write(variables: Sequence[Any], path: Path) -> None:
    """By place, because Keras numbers layer names through the life of a process."""
    from safetensors.numpy import save_file

    save_file({str(i): np.asarray(_array(variable.value), order="C") for i, variable in enumerate(variables)}, path)


def _read(variables: Sequence[Any], path: Path) -> None:
    from safetensors.numpy import load_file

    values = load_file(path)
    for i, variable in enumerate(variables):
        variable.assign(values[str(i)])
