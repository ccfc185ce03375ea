"""What the families of torch nets share besides their training."""

from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_steps
from raytrain.engines.net_family import N, NetFamily

KernelSize = Literal[3, 5, 7, 9]
"""Steps that a convolution sees at once: odd, so that it looks equally far to both sides."""

TRAINING_SPACE: Space = {"learning_rate": Range(1e-4, 1e-2, log=True), "dropout": Range(0.0, 0.5)}


def net_needs(params: NetParams, shape: Shape, *, weights: float, row_values: float, row_s: float) -> Needs:
    """What training a net asks for; one thread, because two wait for each other at steps this small.

    Args:
        weights: numbers that the net learns.
        row_values: numbers that a row of a batch leaves in memory for the way back.
        row_s: CPU seconds that a row takes on the way there and back.
    """
    step_s = 1e-3 + params.batch_size * row_s + 20e-9 * weights
    return Needs(
        memory_bytes=int(100 * 2**20 + 3 * shape.table_bytes + 4 * params.batch_size * row_values + 24 * weights),
        work=1.0 + expected_steps(params, shape.rows) * step_s,
    )


class TorchFamily(NetFamily[N]):
    """Trained by torch, where the accelerator is."""

    engine = "torch"
    lane = "slot"
    packages = ("torch",)


class WindowParams(NetParams):
    """Parameters of a net over a window, and of its training."""

    window: int = Field(30, ge=1, le=2048)
    """Rows the net looks back on, the forecast's own included."""
    learning_rate: float = Field(3e-4, gt=0, le=1)
    """AdamW's rate at the start; falls to a hundredth along a cosine. Lower than for one row: at 1e-3 such a net has
    learned the noise of daily returns by heart within its first epochs."""


W = TypeVar("W", bound=WindowParams)


class WindowFamily(TorchFamily[W]):
    """Sees the features of the last rows."""

    inputs = "windows"

    @classmethod
    def steps(cls, params: W) -> int:
        return params.window


class RecurrentParams(WindowParams):
    """Parameters of recurrent layers and of their training."""

    num_hidden: int = Field(32, ge=1, le=4096)
    """Hidden units in each layer."""
    num_layers: int = Field(1, ge=1, le=8)
    """Recurrent layers."""


R = TypeVar("R", bound=RecurrentParams)


class RecurrentFamily(WindowFamily[R]):
    """Recurrent layers over the window, and a head on the last step."""

    cell: ClassVar[Literal["lstm", "gru"]]

    @classmethod
    def needs(cls, params: R, shape: Shape) -> Needs:
        # Measured with torch 2.13 at windows of 30 and 60, 32 to 128 units, batches of 32 to 1,024.
        gates = {"lstm": 4, "gru": 3}[cls.cell]
        weights = gates * params.num_hidden * (shape.features + (2 * params.num_layers - 1) * params.num_hidden)
        values = 10 * shape.features + 19 * params.num_hidden * params.num_layers
        return net_needs(
            params,
            shape,
            weights=weights,
            row_values=params.window * values,
            row_s=params.window * 0.13e-9 * weights,
        )

    @classmethod
    def space(cls) -> Space:
        return {**TRAINING_SPACE, "num_hidden": Range(8, 128, log=True, integer=True), "window": [10, 30, 60]}

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.columns import behind_codes
        from raytrain.nets.recurrent import RecurrentNet

        sizes = self.params.model_dump(include={"num_hidden", "num_layers", "dropout"})
        return behind_codes(
            shape.num_features,
            shape.categories,
            lambda width: RecurrentNet(width, shape.num_outputs, shape.levels, cell=self.cell, **sizes),
        )


class EncoderParams(NetParams):
    """Parameters of attention layers and of their training."""

    num_heads: int = Field(2, ge=1, le=64)
    """Attention heads in each layer."""
    head_width: int = Field(16, ge=1, le=512)
    """Width of each head; every step or column is a vector of `num_heads * head_width` values."""
    num_layers: int = Field(2, ge=1, le=32)
    """Encoder layers."""

    @property
    def width(self) -> int:
        """Of the vectors."""
        return self.num_heads * self.head_width


def encoder_needs(params: EncoderParams, shape: Shape, num_vectors: int, num_inputs: int) -> Needs:
    """What training an encoder asks for.

    Args:
        num_vectors: that look at each other.
        num_inputs: numbers that each is made of.
    """
    # Measured with torch 2.13 at 5,000 x 60 and 30,000 x 150 values. The last layer computes one vector only, but keys
    # and values of all.
    layers = params.num_layers - 0.6
    weights = layers * 8 * params.width**2 + num_inputs * params.width
    attention = layers * params.num_heads * num_vectors**2
    return net_needs(
        params,
        shape,
        weights=weights,
        row_values=num_vectors * (2 * num_inputs + 20 * layers * params.width),
        row_s=num_vectors * 0.1e-9 * weights + 10e-9 * attention,
    )
