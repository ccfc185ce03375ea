"""The last layer of a net: from hidden units to what a family predicts.

Shapes: B batch, H hidden units, O outputs, Q levels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


class RisingQuantiles(nn.Module):
    """Quantiles that cannot cross: the level nearest the median, and positive steps away from it.

    Args:
        levels: rising, in (0, 1).
    """

    def __init__(self, num_hidden: int, num_outputs: int, levels: Sequence[float]) -> None:
        super().__init__()
        self.middle = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))
        self.shape = (num_outputs, len(levels))
        self.linear = nn.Linear(num_hidden, num_outputs * len(levels))

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """(B, O, Q), rising along the last axis."""
        raw_BOQ = self.linear(hidden_BH).unflatten(-1, self.shape)
        middle_BO1 = raw_BOQ[..., self.middle : self.middle + 1]
        above = softplus(raw_BOQ[..., self.middle + 1 :]).cumsum(-1)
        below = softplus(raw_BOQ[..., : self.middle]).flip(-1).cumsum(-1).flip(-1)
        return torch.cat([middle_BO1 - below, middle_BO1, middle_BO1 + above], dim=-1)


class Logits(nn.Module):
    """One logit per output."""

    def __init__(self, num_hidden: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_hidden, num_outputs)

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """(B, O, 1)."""
        logits_BO1: Tensor = self.linear(hidden_BH).unsqueeze(-1)
        return logits_BO1


def head(num_hidden: int, num_outputs: int, levels: Sequence[float] | None) -> nn.Module:
    """Quantiles at `levels`, or logits when there are none."""
    return Logits(num_hidden, num_outputs) if levels is None else RisingQuantiles(num_hidden, num_outputs, levels)
