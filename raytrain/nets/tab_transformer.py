"""Attention over the columns of one row (FT-Transformer, Gorishniy et al. 2021).

Shapes: B batch, F columns, H width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raytrain.nets.columns import Categories, ColumnTokens
from raytrain.nets.heads import head
from raytrain.nets.transformer import Encoder


class TabTransformerNet(nn.Module):
    """A vector per column and one that asks, encoder layers over them, and a head on the one that asked.

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
        width: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = ColumnTokens(num_features, categories, width)
        self.question_H = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.encoder = Encoder(width, num_heads, num_layers, dropout)
        self.head = head(width, num_outputs, levels)

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        question_B1H = self.question_H.expand(x_BF.shape[0], 1, -1)
        tokens_BFH = torch.cat([self.tokens(x_BF), question_B1H], dim=1)
        predicted: Tensor = self.head(self.encoder(tokens_BFH))
        return predicted
