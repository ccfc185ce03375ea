"""Values of columns, now and some rows ago."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from raytrain.data.frame import Frame
from raytrain.features.steps.base import ColumnsStep, Input, LengthsStep, RowsBack, SeriesStep
from raytrain.features.steps.kernels import Array, change, log_change, ratio, score, shifted


class _RowsBackStep(LengthsStep):
    rows: RowsBack
    """Rows back."""

    @property
    def lookback(self) -> int:
        return max(self.rows)


class AsIs(ColumnsStep):
    """The columns as they are."""

    step: Literal["as_is"] = "as_is"

    @property
    def endings(self) -> list[str]:
        return [""]

    def values(self, *columns: Array) -> Iterator[Array]:
        return iter(columns)


class Lag(_RowsBackStep):
    """The value some rows ago."""

    step: Literal["lag"] = "lag"
    short: ClassVar[str] = "lag"

    def value(self, x: Array, rows: int) -> Array:
        return shifted(x, rows)


class LogReturn(_RowsBackStep):
    """Log of the value over the value some rows ago."""

    step: Literal["log_return"] = "log_return"
    short: ClassVar[str] = "ret"

    @property
    def needs_positive(self) -> bool:
        return True

    def value(self, x: Array, rows: int) -> Array:
        return log_change(x, rows)


class Difference(_RowsBackStep):
    """The value minus the value some rows ago; works for spreads and rates."""

    step: Literal["difference"] = "difference"
    short: ClassVar[str] = "diff"

    def value(self, x: Array, rows: int) -> Array:
        return change(x, rows)


class Spread(SeriesStep):
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

    @property
    def lookback(self) -> int:
        return max(self.zscore_rows, default=1) - 1

    def inputs(self, frame: Frame) -> list[Input]:
        against = "minus" if self.kind == "difference" else "over"
        return [Input(f"{self.left}_{against}_{self.right}", (self.left, self.right))]

    @property
    def endings(self) -> list[str]:
        return ["", *(f"_z_{rows}" for rows in self.zscore_rows)]

    def values(self, *columns: Array) -> Iterator[Array]:
        left, right = columns
        spread = left - right if self.kind == "difference" else ratio(left, right)
        yield spread
        for rows in self.zscore_rows:
            yield score(spread, rows)
