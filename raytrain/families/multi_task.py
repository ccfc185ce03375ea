"""One trunk for all horizons, and a head for each."""

from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_steps
from raytrain.engines.keras_layers import dense_stack, head, one_hot_codes, output_loss
from raytrain.engines.keras_loop import Net, Part, RowLoss, plain
from raytrain.engines.net_family import NetFamily

# Adam moves a variable by about the learning rate in a step, and a logarithm has farther to go than a weight.
_NOISE_PACE = 10.0


class MultiTaskParams(NetParams):
    """Parameters of the net and its training."""

    hidden: tuple[Annotated[int, Field(ge=1, le=16_384)], ...] = Field((64, 32), min_length=1)
    """Units of each hidden layer of the trunk, which all horizons share."""
    num_head: int = Field(16, ge=1, le=16_384)
    """Hidden units of each horizon's own layer."""
    balance: Literal["uncertainty", "equal"] = "uncertainty"
    """How the horizons' losses are added: by weights that are learned, so that a noisy horizon counts for less, or as
    they are."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of hidden units left out of each step."""


class MultiTask(NetFamily[MultiTaskParams]):
    """A multi-layer perceptron with a head per horizon (Caruana 1997); one fit forecasts all of them."""

    name = "multi_task"
    engine = "keras"
    lane = "slot"
    params_type = MultiTaskParams
    multi_output = True
    packages = ("keras",)

    @classmethod
    def needs(cls, params: MultiTaskParams, shape: Shape) -> Needs:
        # Measured with Keras 3.15 on TensorFlow 2.21 at 4,000 x 50 to 30,000 x 150 values, up to (1024, 512) units.
        trunk = sum(above * below for above, below in pairwise((shape.features, *params.hidden)))
        weights = trunk + shape.outputs * params.num_head * (params.hidden[-1] + shape.quantiles)
        step_s = 1e-3 + 1e-4 * shape.outputs + 0.075e-9 * params.batch_size * weights
        units = sum(params.hidden) + shape.outputs * params.num_head
        return Needs(
            memory_bytes=40 * 2**20 + shape.table_bytes + 44 * weights + 24 * params.batch_size * units,
            work=0.8 + expected_steps(params, shape.rows) * step_s,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "hidden": [(32,), (64, 32), (128, 64), (256, 128, 64)],
            "num_head": Range(4, 64, log=True, integer=True),
            "balance": ["uncertainty", "equal"],
            "learning_rate": Range(1e-4, 1e-2, log=True),
            "dropout": Range(0.0, 0.5),
        }

    def build(self, shape: NetShape) -> Net:
        import keras

        model = self._model(shape)
        if self.params.balance == "equal":
            return plain(model, shape)
        log_noise = keras.Variable([0.0] * shape.num_outputs, name="log_noise")
        return Net(model, [Part(_balanced(model, shape, log_noise), [*model.variables, log_noise])])

    def _model(self, shape: NetShape) -> Any:
        import keras
        from keras import layers

        inputs = keras.Input((shape.num_features,))
        trunk = dense_stack(one_hot_codes(inputs, shape), self.params.hidden, self.params.dropout)
        one = replace(shape, num_outputs=1)
        heads = [head(dense_stack(trunk, [self.params.num_head], 0.0), one) for _ in range(shape.num_outputs)]
        return keras.Model(inputs, layers.Concatenate(axis=1)(heads) if len(heads) > 1 else heads[0])


def _balanced(model: Any, shape: NetShape, log_noise: Any) -> RowLoss:
    """The losses of the outputs, each divided by a learned noise whose logarithm is added (Kendall et al. 2018).

    That is the likelihood of asymmetric Laplace errors of that scale, for which the pinball loss is what squared error
    is for normal ones.
    """
    from keras import ops

    def row_loss(x: Any, y: Any, step: Any) -> Any:
        losses = output_loss(shape, y, model(x, training=True))
        log_scale = _NOISE_PACE * log_noise
        return ops.mean(ops.exp(-log_scale) * losses + log_scale, axis=1)

    return row_loss
