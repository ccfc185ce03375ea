"""Convolutions along the columns of one row.

Shapes: B batch, F columns, D token width, H channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raytrain.nets.cnn1d import conv_blocks
from raytrain.nets.columns import Categories, ColumnTokens
from raytrain.nets.heads import head


class TabCNNNet(nn.Module):
    """A vector per column, convolutions along them, and a head on their mean and maximum.

    Args:
        levels: quantile levels; None gives one logit per output.
    """

    def __init__(
        self,
        num_features: int,
        categories: Categories,
        num_outputs: int,
        levels: Sequence[float] | None,
        *,
        token_width: int,
        channels: Sequence[int],
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = ColumnTokens(num_features, categories, token_width)
        self.blocks = conv_blocks(token_width, channels, kernel_size, dropout)
        self.head = head(2 * channels[-1], num_outputs, levels)

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        hidden_BHF = self.blocks(self.tokens(x_BF).transpose(1, 2))
        predicted: Tensor = self.head(torch.cat([hidden_BHF.mean(-1), hidden_BHF.amax(-1)], dim=-1))
        return predicted
