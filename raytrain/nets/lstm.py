"""A stacked LSTM that reads a window (Hochreiter & Schmidhuber 1997).

Shapes: B batch, T steps, F features, H hidden units.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from raytrain.nets.heads import head


class LSTMNet(nn.Module):
    """LSTM layers, dropout on the last step's hidden state, and a head.

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
        num_hidden: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        between = dropout if num_layers > 1 else 0.0
        self.lstm = nn.LSTM(num_features, num_hidden, num_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.head = head(num_hidden, num_outputs, levels)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        hidden_BTH, _ = self.lstm(x_BTF)
        predicted: Tensor = self.head(self.dropout(hidden_BTH[:, -1]))
        return predicted
