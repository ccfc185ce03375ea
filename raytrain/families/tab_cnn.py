"""Convolutions along the columns of one row."""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field

from raytrain.engines.base import Needs, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape
from raytrain.engines.torch_family import TRAINING_SPACE, KernelSize, TorchFamily, net_needs


class TabCNNParams(NetParams):
    """Parameters of the net and its training."""

    token_width: int = Field(16, ge=1, le=512)
    """Values that each column becomes."""
    channels: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field((32, 32), min_length=1, max_length=10)
    """Channels of each block; a block looks twice as far as the one before."""
    kernel_size: KernelSize = 3
    """Columns that a convolution of the first block sees at once."""


class TabCNN(TorchFamily[TabCNNParams]):
    """The feature vector as a sequence: convolutions along the columns, and quantiles or a probability.

    Neighbours in the table are seen together, so the order of the columns is part of the model.
    """

    name = "tab_cnn"
    params_type = TabCNNParams

    @classmethod
    def needs(cls, params: TabCNNParams, shape: Shape) -> Needs:
        # Measured with torch 2.13 at 5,000 x 60 and 30,000 x 150 values.
        widths = (params.token_width, *params.channels)
        weights = params.kernel_size * sum(above * below for above, below in pairwise(widths))
        return net_needs(
            params,
            shape,
            weights=weights,
            row_values=shape.features * 8 * sum(widths),
            row_s=shape.features * (0.1e-9 * weights + 10e-9 * sum(params.channels)),
        )

    @classmethod
    def space(cls) -> Space:
        return {
            **TRAINING_SPACE,
            "token_width": [8, 16, 32],
            "channels": [(16, 16), (32, 32), (64, 64, 64)],
            "kernel_size": [3, 5, 7],
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.tab_cnn import TabCNNNet

        return TabCNNNet(
            shape.num_features,
            shape.categories,
            shape.num_outputs,
            shape.levels,
            **self.params.model_dump(include={"token_width", "channels", "kernel_size", "dropout"}),
        )
