"""Values of columns, now and some rows ago."""

from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from raytrain.data.frame import Frame
from raytrain.features.steps.base import ColumnsStep, RowsBack, Step, known, log_change, rolling_mean, rolling_std


class _RowsBackStep(ColumnsStep):
    rows: RowsBack
    """Rows back."""

    @property
    def lookback(self) -> int:
        return max(self.rows)


class AsIs(ColumnsStep):
    """The columns as they are."""

    step: Literal["as_is"] = "as_is"

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [pl.col(name) for name in self.over(frame)]


class Lag(_RowsBackStep):
    """The value some rows ago."""

    step: Literal["lag"] = "lag"

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(pl.col(name).shift(rows), f"{name}_lag_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


class LogReturn(_RowsBackStep):
    """Log of the value over the value some rows ago."""

    step: Literal["log_return"] = "log_return"

    @property
    def needs_positive(self) -> bool:
        return True

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(log_change(known(name), rows), f"{name}_ret_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


class Difference(_RowsBackStep):
    """The value minus the value some rows ago; works for spreads and rates."""

    step: Literal["difference"] = "difference"

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(known(name) - known(name).shift(rows), f"{name}_diff_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


class Spread(Step):
    """Two columns against each other, and how unusual that is.

    A ratio to 0 is unknown; a z-score is unknown where its window does not move.
    """

    step: Literal["spread"] = "spread"
    left: str
    right: str
    kind: Literal["difference", "ratio"] = "difference"
    """left - right, or left / right."""
    zscore_rows: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Rows in the windows of z-scores of the spread; none when empty."""

    @model_validator(mode="after")
    def _two_columns(self) -> Self:
        if self.left == self.right:
            raise ValueError("`left` and `right` must be two columns")
        return self

    def over(self, frame: Frame) -> tuple[str, ...]:
        return self.left, self.right

    @property
    def lookback(self) -> int:
        return max(self.zscore_rows, default=1) - 1

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        left, right = known(self.left), known(self.right)
        if self.kind == "difference":
            spread, name = left - right, f"{self.left}_minus_{self.right}"
        else:
            spread, name = pl.when(right != 0).then(left / right), f"{self.left}_over_{self.right}"
        scores = [self.per_series(zscore(spread, rows), f"{name}_z_{rows}") for rows in self.zscore_rows]
        return [spread.alias(name), *scores]


def zscore(value: pl.Expr, rows: int) -> pl.Expr:
    """Deviations of the value from its rolling mean; null where the window does not move."""
    deviation = rolling_std(value, rows)
    return pl.when(deviation > 0).then((value - rolling_mean(value, rows)) / deviation)
