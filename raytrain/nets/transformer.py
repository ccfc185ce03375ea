"""A transformer encoder that reads a window (Vaswani et al. 2017).

Shapes: B batch, T steps, F features, H width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raytrain.nets.heads import head


class EncoderLayer(nn.Module):
    """Attention and two dense layers, each behind a norm, which trains without a warm-up (Xiong et al. 2020).

    No dropout on the attention weights: with it torch has no fused attention on the CPU.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, hidden_BTH: Tensor, asking: slice = slice(None)) -> Tensor:
        """(B, T, H) -> (B, steps that ask, H); every step may be looked at."""
        normed_BTH = self.norm(hidden_BTH)
        query_BAH = normed_BTH[:, asking]
        seen_BAH, _ = self.attention(query_BAH, normed_BTH, normed_BTH, need_weights=False)
        hidden_BAH = hidden_BTH[:, asking] + self.dropout(seen_BAH)
        asked_BAH: Tensor = hidden_BAH + self.dense(hidden_BAH)
        return asked_BAH


class Encoder(nn.Module):
    """Encoder layers that end in what one step knows; the last layer computes that step alone."""

    def __init__(self, width: int, num_heads: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden_BTH: Tensor) -> Tensor:
        """(B, T, H) -> (B, H): the last step."""
        *others, last = self.layers
        for layer in others:
            hidden_BTH = layer(hidden_BTH)
        encoded_BH: Tensor = self.norm(last(hidden_BTH, slice(-1, None))[:, 0])
        return encoded_BH


def positions(num_steps: int, width: int) -> Tensor:
    """(T, H) sines and cosines of wave lengths from 2 pi to 10,000 times 2 pi steps."""
    angle = torch.arange(num_steps)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]


class TransformerNet(nn.Module):
    """Each step as a vector with its position, encoder layers, and a head on the last step.

    Args:
        num_steps: steps of a window.
        levels: quantile levels; None gives one logit per output.
    """

    def __init__(
        self,
        num_features: int,
        num_steps: int,
        num_outputs: int,
        levels: Sequence[float] | None,
        *,
        width: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(num_features, width)
        self.register_buffer("positions_TH", positions(num_steps, width), persistent=False)
        self.encoder = Encoder(width, num_heads, num_layers, dropout)
        self.head = head(width, num_outputs, levels)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        predicted: Tensor = self.head(self.encoder(self.embed(x_BTF) + self.positions_TH))
        return predicted
