"""Convolutions that shorten a window, and recurrent layers that read what is left.

Shapes: B batch, T steps, F features, H hidden units or channels.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from raytrain.nets.heads import head
from raytrain.nets.recurrent import LAYERS, Cell


class CNNGRUNet(nn.Module):
    """Blocks of convolution, batch norm, ReLU and pooling; recurrent layers; dense layers on the last step; a head.

    Args:
        levels: quantile levels; None gives one logit per output.
        channels: of each convolution.
        pool: steps that become one after each convolution; a rest of fewer counts as one.
        recurrent: hidden units of each recurrent layer.
        bidirectional: whether the first recurrent layer also reads backwards.
        layer_norm: whether its output is normalised.
        dense: units of each dense layer.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        levels: Sequence[float] | None,
        *,
        channels: Sequence[int],
        kernel_size: int,
        pool: int,
        cell: Cell,
        recurrent: Sequence[int],
        bidirectional: bool,
        layer_norm: bool,
        dense: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        widths = pairwise((num_features, *channels))
        self.convolutions = nn.Sequential(*(_conv_block(*pair, kernel_size, pool) for pair in widths))
        first, *others = recurrent
        self.first = LAYERS[cell](channels[-1], first, batch_first=True, bidirectional=bidirectional)
        first *= 1 + bidirectional
        self.norm = nn.LayerNorm(first) if layer_norm else nn.Identity()
        self.others = nn.ModuleList(LAYERS[cell](*pair, batch_first=True) for pair in pairwise((first, *others)))
        self.dropout = nn.Dropout(dropout)
        widths = pairwise(((first, *others)[-1], *dense))
        self.dense = nn.Sequential(*(_dense_block(*pair, dropout) for pair in widths))
        self.head = head((first, *others, *dense)[-1], num_outputs, levels)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        hidden_BTH, _ = self.first(self.convolutions(x_BTF.transpose(1, 2)).transpose(1, 2))
        hidden_BTH = self.norm(hidden_BTH)
        for layer in self.others:
            hidden_BTH, _ = layer(self.dropout(hidden_BTH))
        predicted: Tensor = self.head(self.dense(self.dropout(hidden_BTH[:, -1])))
        return predicted


def _conv_block(num_in: int, num_out: int, kernel_size: int, pool: int) -> nn.Sequential:
    """(B, in, T) -> (B, out, T / pool), rounded up."""
    return nn.Sequential(
        nn.Conv1d(num_in, num_out, kernel_size, padding="same"),
        nn.BatchNorm1d(num_out),
        nn.ReLU(),
        nn.MaxPool1d(pool, ceil_mode=True),
    )


def _dense_block(num_in: int, num_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_in, num_out), nn.ReLU(), nn.Dropout(dropout))
