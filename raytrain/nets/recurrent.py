"""Stacked recurrent layers that read a window: LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014).

Shapes: B batch, T steps, F features, H hidden units.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from raytrain.nets.heads import head

Cell = Literal["lstm", "gru"]

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentNet(nn.Module):
    """Recurrent layers, dropout on the last step's hidden state, and a head.

    Args:
        levels: quantile levels; None gives one logit per output.
        dropout: between the layers too, when there are several.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        levels: Sequence[float] | None,
        *,
        cell: Cell,
        num_hidden: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        between = dropout if num_layers > 1 else 0.0
        self.layers = LAYERS[cell](num_features, num_hidden, num_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.head = head(num_hidden, num_outputs, levels)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        hidden_BTH, _ = self.layers(x_BTF)
        predicted: Tensor = self.head(self.dropout(hidden_BTH[:, -1]))
        return predicted
