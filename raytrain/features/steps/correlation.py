"""How two columns have moved together."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from raytrain.data.frame import Frame
from raytrain.features.correlations.aligned import pair_correlations
from raytrain.features.steps.base import Piece, Step
from raytrain.features.steps.kernels import most_of
from raytrain.features.steps.panel import Panel


class Correlation(Step):
    """Rolling correlation of the row-to-row changes of two columns, -1 to 1.

    Pairs are named in the config: a choice by what correlates over all rows would have seen the test rows. A window
    counts when four fifths of it are known; unknown where one of the two columns does not move.
    """

    step: Literal["correlation"] = "correlation"
    pairs: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]
    """Columns to compare."""
    change: Literal["log", "difference", "none"] = "log"
    """What is compared: log returns, differences, or the columns themselves where they hold changes already."""
    rows: Annotated[tuple[Annotated[int, Field(ge=5)], ...], Field(min_length=1)] = (63,)
    """Changes in a window."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for pair in self.pairs for name in pair))

    @property
    def lookback(self) -> int:
        return max(self.rows)

    @property
    def needs_positive(self) -> bool:
        return self.change == "log"

    def names(self, frame: Frame) -> list[str]:
        return [f"{left}_{right}_corr_{rows}" for left, right in self.pairs for rows in self.rows]

    def pieces(self, panel: Panel) -> Iterator[Piece]:
        for place, rows in enumerate(self.rows):
            found = pair_correlations(panel.frame, self.pairs, self.change, rows, most_of(rows))
            for number, values in enumerate(found):
                yield Piece(number * len(self.rows) + place, slice(0, len(values)), values[None])
