"""What every step has, and the averages that several share.

A step is config and code at once: its fields say what a person chose, `expressions` says what is computed. Values at a
row use that row and earlier ones of the same series only; `looks_ahead` marks the one exception.
"""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import polars as pl
from pydantic import Field

from raytrain.config import Section
from raytrain.data.frame import SERIES, Frame

RowsBack = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
WindowLengths = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)]


class Step(Section, ABC):
    """One step of the feature pipeline; a subclass has a field `step` with its name."""

    step: str
    looks_ahead: ClassVar[bool] = False
    """Whether later rows are read: allowed for columns that `features.known` declares, and for no other."""

    @abstractmethod
    def over(self, frame: Frame) -> tuple[str, ...]:
        """The numeric columns this step reads."""

    def over_text(self) -> tuple[str, ...]:
        """The columns this step reads as categories, of text or of whole numbers."""
        return ()

    @property
    def lookback(self) -> int:
        """Earlier rows that a value needs; for a recursive average, the rows until it has a value."""
        return 0

    @property
    def needs_positive(self) -> bool:
        """Whether the columns must be above 0."""
        return False

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        """What the expressions are made of, as columns named by `private`, stage after stage, within each series.

        Each is computed once, however many of the step's expressions use it: polars does not look for common parts
        inside a window expression.
        """
        return []

    @abstractmethod
    def expressions(self, frame: Frame) -> list[pl.Expr]:
        """One named expression per feature."""

    def per_series(self, expression: pl.Expr, name: str) -> pl.Expr:
        """Compute within each series and name the feature."""
        return expression.over(SERIES).alias(name)


class ColumnsStep(Step):
    """A step that does the same to each of its columns."""

    columns: tuple[str, ...] = ()
    """Columns to work on; the price column when empty."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return self.columns or (frame.price,)


class WindowStep(ColumnsStep):
    """A step over rolling windows of several lengths: one feature per column and length.

    A window counts when four fifths of it are known: a holiday must not blank a quarter.
    """

    short: ClassVar[str]
    """How the feature's name says what it is: `vol` in `close_vol_21`."""
    rows: WindowLengths
    """Rows in a window, the row's own included."""

    @property
    def lookback(self) -> int:
        return max(self.rows) - 1

    @abstractmethod
    def value(self, name: str, rows: int) -> pl.Expr:
        """The feature of one column within one series."""

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(self.value(name, rows), f"{name}_{self.short}_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


def private(name: str) -> str:
    """The name of a column that steps share; no column of a person's table is called so."""
    return f"\0{name}"


def known(name: str) -> pl.Expr:
    """A column with null where it is unknown."""
    return pl.col(name).fill_nan(None)


def log_change(value: pl.Expr, rows: int = 1) -> pl.Expr:
    """Log of the value over the value `rows` rows ago."""
    return (value / value.shift(rows)).log()


def log_changes(name: str) -> pl.Expr:
    """A stage: one-row log returns of a column, null where unknown."""
    return log_change(known(name)).alias(private(f"{name} log change"))


def deviation(value: pl.Expr, name: str, rows: int) -> pl.Expr:
    """A stage: the rolling standard deviation of what is called `name`."""
    return rolling_std(value, rows).alias(private(f"{name} deviation {rows}"))


def zscore(value: pl.Expr, name: str, rows: int) -> pl.Expr:
    """Deviations of the value from its rolling mean; null where the window does not move. Needs stage `deviation`."""
    spread = pl.col(private(f"{name} deviation {rows}"))
    return pl.when(spread > 0).then((value - rolling_mean(value, rows)) / spread)


def most_of(rows: int) -> int:
    """How many values of a window of `rows` must be known."""
    return max(2, -(-rows * 4 // 5))


def rolling_mean(value: pl.Expr, rows: int) -> pl.Expr:
    """Mean of a window most of which is known."""
    return value.rolling_mean(rows, min_samples=most_of(rows))


def rolling_std(value: pl.Expr, rows: int, ddof: int = 1) -> pl.Expr:
    """Standard deviation of a window most of which is known."""
    return value.rolling_std(rows, min_samples=most_of(rows), ddof=ddof)


def smoothed(value: pl.Expr, rows: int, weight: float) -> pl.Expr:
    """A recursive average: the mean of the first `rows` known values, then `weight` for each new one.

    Wilder's average has weight 1/rows, the usual exponential average 2/(rows + 1).
    """
    number = value.is_not_null().cum_sum()
    seeded = pl.when(number == rows).then(value.cum_sum() / rows).when(number > rows).then(value)
    return seeded.ewm_mean(alpha=weight, adjust=False, ignore_nulls=True)
