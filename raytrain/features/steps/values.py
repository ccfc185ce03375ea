"""Values of columns, now and some rows ago."""

from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from raytrain.data.frame import Frame
from raytrain.features.steps.base import ColumnsStep, RowsBack, Step, deviation, known, log_change, private, zscore


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

    @property
    def _name(self) -> str:
        return f"{self.left}_{'minus' if self.kind == 'difference' else 'over'}_{self.right}"

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        left, right = known(self.left), known(self.right)
        spread = left - right if self.kind == "difference" else pl.when(right != 0).then(left / right)
        value = pl.col(private(self._name))
        return [
            [spread.alias(private(self._name))],
            [deviation(value, self._name, rows) for rows in self.zscore_rows],
        ]

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        value = pl.col(private(self._name))
        scores = [
            self.per_series(zscore(value, self._name, rows), f"{self._name}_z_{rows}") for rows in self.zscore_rows
        ]
        return [value.alias(self._name), *scores]
