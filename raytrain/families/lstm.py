"""A recurrent net over a look-back window."""

from typing import Any

from pydantic import Field

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_epochs
from raytrain.engines.net_family import NetFamily


class LSTMParams(NetParams):
    """Parameters of the net and its training."""

    window: int = Field(30, ge=1, le=2048)
    """Rows the net looks back on, the forecast's own included."""
    num_hidden: int = Field(32, ge=1, le=4096)
    """Hidden units in each layer."""
    num_layers: int = Field(1, ge=1, le=8)
    """Recurrent layers."""


class LSTM(NetFamily[LSTMParams]):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with non-crossing quantiles or a probability."""

    name = "lstm"
    engine = "torch"
    lane = "slot"
    params_type = LSTMParams
    inputs = "windows"
    packages = ("torch",)

    @classmethod
    def steps(cls, params: LSTMParams) -> int:
        return params.window

    @classmethod
    def needs(cls, params: LSTMParams, shape: Shape) -> Needs:
        # Measured with torch 2.13 at windows of 30 and 60, 32 to 128 units, batches of 32 to 1,024. One thread: two are
        # up to six times slower on a shared processor, because such small steps mostly wait for each other.
        step_values = 10 * shape.features + 19 * params.num_hidden * params.num_layers
        multiplications = 4 * params.num_hidden * (shape.features + (2 * params.num_layers - 1) * params.num_hidden)
        batches = shape.rows / params.batch_size
        epoch_s = 1e-3 * batches + 0.13e-9 * shape.rows * params.window * multiplications
        return Needs(
            memory_bytes=100 * 2**20 + 3 * shape.table_bytes + 4 * params.batch_size * params.window * step_values,
            work=1.0 + expected_epochs(params) * epoch_s,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "num_hidden": Range(8, 128, log=True, integer=True),
            "learning_rate": Range(1e-4, 1e-2, log=True),
            "dropout": Range(0.0, 0.5),
            "window": [10, 30, 60],
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.lstm import LSTMNet

        return LSTMNet(
            shape.num_features,
            shape.num_outputs,
            shape.levels,
            num_hidden=self.params.num_hidden,
            num_layers=self.params.num_layers,
            dropout=self.params.dropout,
        )
