"""How the columns of a feature table enter a net: numbers as they are, codes of categories as learned vectors.

Shapes: B batch, F columns, C columns of codes, N columns of numbers, D width of a vector. `...` is B, or B and steps.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_CODE_WIDTH = 4

Categories = Sequence[tuple[int, int]]
"""Columns that hold codes, and how many codes each has; code 0 stands for the unseen."""


class CodeVectors(nn.Module):
    """A learned vector for each code of each categorical column.

    A code that training had no row of counts as 0, whose vector starts at zero: unless training has unknown values to
    learn it from, an unseen category says nothing.
    """

    def __init__(self, categories: Categories, width: int) -> None:
        super().__init__()
        columns, counts = zip(*categories, strict=True)
        first = [sum(counts[:column]) for column in range(len(counts))]
        for name, values in {"columns": columns, "counts": counts, "first": first}.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.vectors = nn.Embedding(sum(counts), width)
        with torch.no_grad():
            self.vectors.weight[self.first] = 0

    def forward(self, x_F: Tensor) -> Tensor:
        """(..., F) -> (..., C, D)."""
        code_C = x_F[..., self.columns].long()
        code_C = torch.where(code_C < self.counts, code_C, 0)
        vectors_CD: Tensor = self.vectors(code_C + self.first)
        return vectors_CD


class Numbers(nn.Module):
    """The columns that hold no codes."""

    def __init__(self, num_features: int, categories: Categories) -> None:
        super().__init__()
        codes = {column for column, _ in categories}
        columns = [column for column in range(num_features) if column not in codes]
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.long), persistent=False)

    def __len__(self) -> int:
        return len(self.columns)

    def forward(self, x_F: Tensor) -> Tensor:
        """(..., F) -> (..., N)."""
        return x_F if len(self) == x_F.shape[-1] else x_F[..., self.columns]


class Flattened(nn.Module):
    """The numbers, and beside them the vectors of the codes."""

    def __init__(self, num_features: int, categories: Categories) -> None:
        super().__init__()
        self.numbers = Numbers(num_features, categories)
        self.codes = CodeVectors(categories, _CODE_WIDTH)
        self.width = len(self.numbers) + _CODE_WIDTH * len(categories)

    def forward(self, x_F: Tensor) -> Tensor:
        """(..., F) -> (..., N + C * D)."""
        return torch.cat([self.numbers(x_F), self.codes(x_F).flatten(-2)], dim=-1)


class ColumnTokens(nn.Module):
    """One vector per column: a number times the column's direction plus its offset, or the vector of its code.

    The feature tokenizer of Gorishniy et al. 2021. Numbers come first, then the codes.
    """

    def __init__(self, num_features: int, categories: Categories, width: int) -> None:
        super().__init__()
        self.numbers = Numbers(num_features, categories)
        self.codes = CodeVectors(categories, width) if categories else None
        self.direction_ND = nn.Parameter(torch.empty(len(self.numbers), width))
        self.offset_ND = nn.Parameter(torch.empty(len(self.numbers), width))
        for parameter in (self.direction_ND, self.offset_ND):
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, F) -> (B, F, D)."""
        tokens_BND = self.numbers(x_BF).unsqueeze(-1) * self.direction_ND + self.offset_ND
        return tokens_BND if self.codes is None else torch.cat([tokens_BND, self.codes(x_BF)], dim=1)


def behind_codes(num_features: int, categories: Categories, make: Callable[[int], nn.Module]) -> nn.Module:
    """A net that is told how many numbers it sees in each row, behind the vectors of the codes when there are any."""
    if not categories:
        return make(num_features)
    flattened = Flattened(num_features, categories)
    return nn.Sequential(flattened, make(flattened.width))
