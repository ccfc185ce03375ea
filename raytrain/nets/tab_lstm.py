"""An LSTM along the columns of one row.

Shapes: B batch, F columns, D token width, H hidden units.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from raytrain.nets.columns import Categories, ColumnTokens
from raytrain.nets.heads import head


class TabLSTMNet(nn.Module):
    """A vector per column, LSTM layers that read one after the other, and a head on the mean hidden state.

    On the mean, because after a hundred columns the last state has all but forgotten the first.

    Args:
        levels: quantile levels; None gives one logit per output.
        dropout: on the mean, and between the layers when there are several.
    """

    def __init__(
        self,
        num_features: int,
        categories: Categories,
        num_outputs: int,
        levels: Sequence[float] | None,
        *,
        token_width: int,
        num_hidden: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = ColumnTokens(num_features, categories, token_width)
        between = dropout if num_layers > 1 else 0.0
        self.layers = nn.LSTM(token_width, num_hidden, num_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.head = head(num_hidden, num_outputs, levels)

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        hidden_BFH, _ = self.layers(self.tokens(x_BF))
        predicted: Tensor = self.head(self.dropout(hidden_BFH.mean(1)))
        return predicted
