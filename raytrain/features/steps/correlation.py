"""How two columns have moved together."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from raytrain.data.frame import Frame
from raytrain.features.correlations.aligned import pair_correlations
from raytrain.features.steps.base import Step, most_of


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

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        found = {rows: pair_correlations(frame, self.pairs, self.change, rows, most_of(rows)) for rows in self.rows}
        return [
            pl.lit(pl.Series(found[rows][number])).alias(f"{left}_{right}_corr_{rows}")
            for number, (left, right) in enumerate(self.pairs)
            for rows in self.rows
        ]
