"""Convolutions that shorten a look-back window, and recurrent layers that read it."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from raytrain.engines.base import Needs, Shape, Space
from raytrain.engines.epochs import NetShape
from raytrain.engines.torch_family import TRAINING_SPACE, KernelSize, WindowFamily, WindowParams, net_needs

Widths = tuple[Annotated[int, Field(ge=1, le=4096)], ...]


class CNNGRUParams(WindowParams):
    """Parameters of the net and its training; the defaults are the `balanced` preset."""

    window: int = Field(90, ge=1, le=2048)
    """Rows the net looks back on, the forecast's own included."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """AdamW's rate at the start; falls to a hundredth along a cosine."""
    num_epochs: int = Field(200, ge=1, le=10_000)
    """Passes over the training rows, at most."""
    batch_size: int = Field(48, ge=2, le=65_536)
    """Rows per gradient step; at least two, because batch norm compares them."""
    patience: int = Field(15, ge=1)
    """Epochs without a lower loss on the rows kept aside before training stops."""
    channels: Widths = Field((48, 96), min_length=1, max_length=8)
    """Channels of each convolution."""
    kernel_size: KernelSize = 3
    """Steps that a convolution sees at once."""
    pool: int = Field(2, ge=1, le=16)
    """Steps that become one, their maximum, after each convolution."""
    cell: Literal["gru", "lstm"] = "gru"
    """Kind of the recurrent layers."""
    recurrent: Widths = Field((80, 40), min_length=1, max_length=8)
    """Hidden units of each recurrent layer."""
    bidirectional: bool = False
    """Whether the first recurrent layer also reads the window backwards."""
    layer_norm: bool = True
    """Whether the output of the first recurrent layer is normalised."""
    dense: Widths = Field((40,), max_length=8)
    """Units of each dense layer between the recurrent ones and the forecast."""


class CNNGRU(WindowFamily[CNNGRUParams]):
    """Convolution blocks with batch norm, then GRU or LSTM layers, and non-crossing quantiles or a probability."""

    name = "cnn_gru"
    params_type = CNNGRUParams

    @classmethod
    def needs(cls, params: CNNGRUParams, shape: Shape) -> Needs:
        # Measured with torch 2.13 for the four presets, at 5,000 x 60 and 30,000 x 150 values.
        weights = row_values = multiplications = 0.0
        steps: float = params.window
        for above, below in pairwise((shape.features, *params.channels)):
            weights += params.kernel_size * above * below
            multiplications += steps * params.kernel_size * above * below
            row_values += steps * (above + 4 * below)
            steps /= params.pool
        gates = {"lstm": 4, "gru": 3}[params.cell]
        for index, (above, below) in enumerate(pairwise((params.channels[-1], *params.recurrent))):
            ways = 2 if params.bidirectional and index == 0 else 1
            weights += ways * gates * below * (above + below)
            multiplications += steps * ways * gates * below * (above + below)
            row_values += steps * ways * 10 * below
        return net_needs(params, shape, weights=weights, row_values=row_values, row_s=0.13e-9 * multiplications)

    @classmethod
    def space(cls) -> Space:
        return {
            **TRAINING_SPACE,
            "channels": [(32,), (48, 96), (64, 128, 256)],
            "recurrent": [(64, 32), (80, 40), (120, 60)],
            "cell": ["gru", "lstm"],
            "window": [30, 60, 90],
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.cnn_gru import CNNGRUNet
        from raytrain.nets.columns import behind_codes

        sizes = self.params.model_dump(
            include={
                "channels",
                "kernel_size",
                "pool",
                "cell",
                "recurrent",
                "bidirectional",
                "layer_norm",
                "dense",
                "dropout",
            }
        )
        return behind_codes(
            shape.num_features,
            shape.categories,
            lambda width: CNNGRUNet(width, shape.num_outputs, shape.levels, **sizes),
        )
