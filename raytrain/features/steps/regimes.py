"""Categories as flags."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from raytrain.data.frame import Frame
from raytrain.features.categories import as_label
from raytrain.features.steps.base import TableStep


class Regime(TableStep):
    """One 0/1 flag per declared category of a column of text or whole numbers.

    The categories come from the config, so that tomorrow's data can neither add nor reorder features. A category that
    is not among them has all flags 0; where the column is unknown, all flags are unknown.
    """

    step: Literal["regime"] = "regime"
    column: str
    categories: Annotated[tuple[str, ...], Field(min_length=1)]
    """As written in the column; whole numbers as `3`."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return ()

    def over_text(self) -> tuple[str, ...]:
        return (self.column,)

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        label = as_label(frame, self.column)
        return [(label == name).alias(f"{self.column}_is_{name}") for name in self.categories]
