"""The last layer of a net: from hidden units to what a family predicts.

Both start from a forecast that hardly depends on the inputs, so that a net that finds nothing in them stays there.

Shapes: B batch, H hidden units, O outputs, Q levels.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

_START = 0.01
"""Deviation of the weights before training."""


class RisingQuantiles(nn.Module):
    """Quantiles that cannot cross: the level nearest the median, and positive steps away from it.

    They start as those of a normal distribution with deviation 1, which targets have: a bias moves by one learning rate
    per step, and would take most of a training to get there.

    Args:
        levels: rising, in (0, 1).
    """

    def __init__(self, num_hidden: int, num_outputs: int, levels: Sequence[float]) -> None:
        super().__init__()
        self.middle = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))
        self.shape = (num_outputs, len(levels))
        self.linear = nn.Linear(num_hidden, num_outputs * len(levels))
        nn.init.normal_(self.linear.weight, std=_START)
        with torch.no_grad():
            self.linear.bias.view(self.shape)[:] = torch.tensor(_normal_start(levels, self.middle))

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """(B, O, Q), rising along the last axis."""
        raw_BOQ = self.linear(hidden_BH).unflatten(-1, self.shape)
        middle_BO1 = raw_BOQ[..., self.middle : self.middle + 1]
        above = softplus(raw_BOQ[..., self.middle + 1 :]).cumsum(-1)
        below = softplus(raw_BOQ[..., : self.middle]).flip(-1).cumsum(-1).flip(-1)
        return torch.cat([middle_BO1 - below, middle_BO1, middle_BO1 + above], dim=-1)


def _normal_start(levels: Sequence[float], middle: int) -> list[float]:
    """What the linear layer must give for normal quantiles: the middle one, and the steps to the others."""
    quantiles = [NormalDist().inv_cdf(level) for level in levels]
    steps = [math.log(math.expm1(above - below)) for below, above in pairwise(quantiles)]
    return [*steps[:middle], quantiles[middle], *steps[middle:]]


class Logits(nn.Module):
    """One logit per output."""

    def __init__(self, num_hidden: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_hidden, num_outputs)
        nn.init.normal_(self.linear.weight, std=_START)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """(B, O, 1)."""
        logits_BO1: Tensor = self.linear(hidden_BH).unsqueeze(-1)
        return logits_BO1


def head(num_hidden: int, num_outputs: int, levels: Sequence[float] | None) -> nn.Module:
    """Quantiles at `levels`, or logits when there are none."""
    return Logits(num_hidden, num_outputs) if levels is None else RisingQuantiles(num_hidden, num_outputs, levels)
