"""A multi-layer perceptron over one row of features."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_steps
from raytrain.engines.keras_layers import dense_stack, head, one_hot_codes
from raytrain.engines.keras_loop import Net, plain
from raytrain.engines.net_family import NetFamily


class MLPParams(NetParams):
    """Parameters of the net and its training."""

    hidden: tuple[Annotated[int, Field(ge=1, le=16_384)], ...] = Field((64, 32), min_length=1)
    """Units of each hidden layer."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of hidden units left out of each step."""


class MLP(NetFamily[MLPParams]):
    """Dense layers with GELU (Hendrycks & Gimpel 2016), and non-crossing quantiles or a probability."""

    name = "mlp"
    engine = "keras"
    lane = "slot"
    params_type = MLPParams
    packages = ("keras",)

    @classmethod
    def needs(cls, params: MLPParams, shape: Shape) -> Needs:
        # Measured with Keras 3.15 on TensorFlow 2.21 at 4,000 x 50 to 30,000 x 150 values, up to (1024, 512) units.
        widths = (shape.features, *params.hidden, shape.outputs * shape.quantiles)
        weights = sum(above * below for above, below in pairwise(widths))
        step_s = 1e-3 + 0.075e-9 * params.batch_size * weights
        return Needs(
            memory_bytes=40 * 2**20 + shape.table_bytes + 44 * weights + 24 * params.batch_size * sum(params.hidden),
            work=0.6 + expected_steps(params, shape.rows) * step_s,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "hidden": [(32,), (64, 32), (128, 64), (256, 128, 64)],
            "learning_rate": Range(1e-4, 1e-2, log=True),
            "dropout": Range(0.0, 0.5),
        }

    def build(self, shape: NetShape) -> Net:
        import keras

        inputs = keras.Input((shape.num_features,))
        hidden = dense_stack(one_hot_codes(inputs, shape), self.params.hidden, self.params.dropout)
        return plain(keras.Model(inputs, head(hidden, shape)), shape)
