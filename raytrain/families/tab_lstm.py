"""A recurrent net along the columns of one row."""

from typing import Any

from pydantic import Field

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape
from raytrain.engines.torch_family import TRAINING_SPACE, TorchFamily, net_needs


class TabLSTMParams(NetParams):
    """Parameters of the net and its training."""

    token_width: int = Field(16, ge=1, le=512)
    """Values that each column becomes."""
    num_hidden: int = Field(32, ge=1, le=4096)
    """Hidden units in each layer."""
    num_layers: int = Field(1, ge=1, le=8)
    """Recurrent layers."""


class TabLSTM(TorchFamily[TabLSTMParams]):
    """The feature vector as a sequence: an LSTM reads the columns in their order; quantiles or a probability."""

    name = "tab_lstm"
    params_type = TabLSTMParams

    @classmethod
    def needs(cls, params: TabLSTMParams, shape: Shape) -> Needs:
        # Measured with torch 2.13 at 5,000 x 60 and 30,000 x 150 values.
        weights = 4 * params.num_hidden * (params.token_width + (2 * params.num_layers - 1) * params.num_hidden)
        return net_needs(
            params,
            shape,
            weights=weights,
            row_values=shape.features * (10 * params.token_width + 19 * params.num_hidden * params.num_layers),
            row_s=shape.features * 0.13e-9 * weights,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            **TRAINING_SPACE,
            "token_width": [8, 16, 32],
            "num_hidden": Range(8, 128, log=True, integer=True),
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.tab_lstm import TabLSTMNet

        return TabLSTMNet(
            shape.num_features,
            shape.categories,
            shape.num_outputs,
            shape.levels,
            **self.params.model_dump(include={"token_width", "num_hidden", "num_layers", "dropout"}),
        )
