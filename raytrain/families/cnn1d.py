"""Convolutions over a look-back window."""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from raytrain.engines.base import Needs, Shape, Space
from raytrain.engines.epochs import NetShape
from raytrain.engines.torch_family import TRAINING_SPACE, KernelSize, WindowFamily, WindowParams, net_needs


class CNN1DParams(WindowParams):
    """Parameters of the net and its training."""

    channels: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field((32, 32, 32), min_length=1, max_length=10)
    """Channels of each block; a block looks twice as far as the one before."""
    kernel_size: KernelSize = 3
    """Steps that a convolution of the first block sees at once."""


class CNN1D(WindowFamily[CNN1DParams]):
    """Residual blocks of dilated convolutions (after Bai et al. 2018), and quantiles or a probability."""

    name = "cnn1d"
    params_type = CNN1DParams

    @classmethod
    def needs(cls, params: CNN1DParams, shape: Shape) -> Needs:
        # Measured with torch 2.13 at 5,000 x 60 and 30,000 x 150 values.
        widths = (shape.features, *params.channels)
        weights = params.kernel_size * sum(above * below for above, below in pairwise(widths))
        return net_needs(
            params,
            shape,
            weights=weights,
            row_values=params.window * (10 * shape.features + 8 * sum(params.channels)),
            row_s=params.window * (0.06e-9 * weights + 10e-9 * sum(params.channels)),
        )

    @classmethod
    def space(cls) -> Space:
        return {
            **TRAINING_SPACE,
            "channels": [(16, 16), (32, 32, 32), (64, 64, 64, 64)],
            "kernel_size": [3, 5, 7],
            "window": [10, 30, 60],
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.cnn1d import CNN1DNet
        from raytrain.nets.columns import behind_codes

        sizes = self.params.model_dump(include={"channels", "kernel_size", "dropout"})
        return behind_codes(
            shape.num_features,
            shape.categories,
            lambda width: CNN1DNet(width, shape.num_outputs, shape.levels, **sizes),
        )
