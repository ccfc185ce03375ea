"""Convolutions along a sequence (after the residual blocks of Bai, Kolter & Koltun 2018).

Shapes: B batch, T steps, F features, H channels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from raytrain.nets.heads import head


class ConvBlock(nn.Module):
    """A dilated convolution with normalisation, GELU and dropout, added to its input. Keeps the length.

    Normalised over a row's own channels and steps: statistics of a batch would mix calm and wild times.
    """

    def __init__(self, num_in: int, num_out: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_in, num_out, kernel_size, dilation=dilation, padding="same")
        self.norm = nn.GroupNorm(1, num_out)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if num_in == num_out else nn.Conv1d(num_in, num_out, 1)

    def forward(self, x_BHT: Tensor) -> Tensor:
        """(B, in, T) -> (B, out, T)."""
        new_BHT = self.dropout(gelu(self.norm(self.conv(x_BHT))))
        block_BHT: Tensor = self.skip(x_BHT) + new_BHT
        return block_BHT


def conv_blocks(num_in: int, channels: Sequence[int], kernel_size: int, dropout: float) -> nn.Sequential:
    """Blocks of these widths; each looks twice as far as the one before."""
    widths = pairwise((num_in, *channels))
    return nn.Sequential(*(ConvBlock(*pair, kernel_size, 2**i, dropout) for i, pair in enumerate(widths)))


class CNN1DNet(nn.Module):
    """Convolutions over a window; the head sees its last step and the mean of all.

    Args:
        levels: quantile levels; None gives one logit per output.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        levels: Sequence[float] | None,
        *,
        channels: Sequence[int],
        kernel_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.blocks = conv_blocks(num_features, channels, kernel_size, dropout)
        self.head = head(2 * channels[-1], num_outputs, levels)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        hidden_BHT = self.blocks(x_BTF.transpose(1, 2))
        predicted: Tensor = self.head(torch.cat([hidden_BHT[..., -1], hidden_BHT.mean(-1)], dim=-1))
        return predicted
