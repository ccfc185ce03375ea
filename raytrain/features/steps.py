"""Features as small named pure steps, each with the look-back it needs.

A step is config and code at once: its fields say what a person chose, `expressions` says what is computed. Values at a
row use that row and earlier ones of the same series only.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from raytrain.config import Section
from raytrain.data.frame import DATE, SERIES, Frame

Rows = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
WindowLengths = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)]


class Step(Section, ABC):
    """One step of the feature pipeline."""

    columns: tuple[str, ...] = ()
    """Columns to work on; the price column when empty."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        """The columns this step reads."""
        return self.columns or (frame.price,)

    @property
    def lookback(self) -> int:
        """Earlier rows that a value needs."""
        return 0

    @property
    def needs_positive(self) -> bool:
        """Whether the columns must be above 0."""
        return False

    @abstractmethod
    def expressions(self, frame: Frame) -> list[pl.Expr]:
        """One named expression per feature."""

    def per_series(self, expression: pl.Expr, name: str) -> pl.Expr:
        """Compute within each series and name the feature."""
        return expression.over(SERIES).alias(name)


class _RowsStep(Step):
    rows: Rows
    """Rows back."""

    @property
    def lookback(self) -> int:
        return max(self.rows)


class AsIs(Step):
    """The columns as they are."""

    step: Literal["as_is"] = "as_is"

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [pl.col(name) for name in self.over(frame)]


class Lag(_RowsStep):
    """The value some rows ago."""

    step: Literal["lag"] = "lag"

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(pl.col(name).shift(rows), f"{name}_lag_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


class LogReturn(_RowsStep):
    """Log of the value over the value some rows ago."""

    step: Literal["log_return"] = "log_return"

    @property
    def needs_positive(self) -> bool:
        return True

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series((_known(name) / _known(name).shift(rows)).log(), f"{name}_ret_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


class Difference(_RowsStep):
    """The value minus the value some rows ago; works for spreads and rates."""

    step: Literal["difference"] = "difference"

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(_known(name) - _known(name).shift(rows), f"{name}_diff_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


class Volatility(Step):
    """Standard deviation of one-row log returns in a rolling window, not annualised."""

    step: Literal["volatility"] = "volatility"
    rows: WindowLengths
    """Returns in a window."""

    @property
    def lookback(self) -> int:
        return max(self.rows)

    @property
    def needs_positive(self) -> bool:
        return True

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(
                (_known(name) / _known(name).shift(1)).log().rolling_std(rows, min_samples=_most_of(rows)),
                f"{name}_vol_{rows}",
            )
            for name in self.over(frame)
            for rows in self.rows
        ]


class ZScore(Step):
    """Deviations of the value from its rolling mean; unknown where the window does not move."""

    step: Literal["zscore"] = "zscore"
    rows: WindowLengths
    """Values in a window, the row's own included."""

    @property
    def lookback(self) -> int:
        return max(self.rows) - 1

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(_zscore(_known(name), rows), f"{name}_z_{rows}")
            for name in self.over(frame)
            for rows in self.rows
        ]


class RSI(Step):
    """Relative strength index with Wilder's smoothing, 0 to 100 (Wilder 1978, New Concepts in Technical Trading).

    Unknown until `rows` changes are known; 50 where nothing has ever moved.
    """

    step: Literal["rsi"] = "rsi"
    rows: int = Field(14, ge=2)
    """Smoothing length."""

    @property
    def lookback(self) -> int:
        return self.rows

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [self.per_series(_rsi(_known(name), self.rows), f"{name}_rsi_{self.rows}") for name in self.over(frame)]


class Calendar(Step):
    """Day of week, day of month and month; the hour too where rows are closer than a day."""

    step: Literal["calendar"] = "calendar"

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        date = pl.col(DATE).dt
        parts = [date.weekday().alias("dow"), date.day().alias("dom"), date.month().alias("moy")]
        if (frame.table[DATE].dt.truncate("1d") != frame.table[DATE]).any():
            parts.append(date.hour().alias("hour"))
        return parts


AnyStep = Annotated[
    AsIs | Lag | LogReturn | Difference | Volatility | ZScore | RSI | Calendar, Field(discriminator="step")
]


def _known(name: str) -> pl.Expr:
    return pl.col(name).fill_nan(None)


def _most_of(rows: int) -> int:
    """A window counts when four fifths of it are known: a holiday must not blank a quarter."""
    return max(2, -(-rows * 4 // 5))


def _zscore(value: pl.Expr, rows: int) -> pl.Expr:
    mean = value.rolling_mean(rows, min_samples=_most_of(rows))
    deviation = value.rolling_std(rows, min_samples=_most_of(rows))
    return pl.when(deviation > 0).then((value - mean) / deviation)


def _rsi(value: pl.Expr, rows: int) -> pl.Expr:
    change = value.diff()
    up = _wilder(change.clip(lower_bound=0), rows)
    down = _wilder((-change).clip(lower_bound=0), rows)
    return pl.when(up + down > 0).then(100 * up / (up + down)).when(up + down == 0).then(50.0)


def _wilder(value: pl.Expr, rows: int) -> pl.Expr:
    """Wilder's average: the mean of the first `rows` known values, then a recursive average with weight 1/rows."""
    known = value.is_not_null().cum_sum()
    seeded = pl.when(known == rows).then(value.cum_sum() / rows).when(known > rows).then(value)
    return seeded.ewm_mean(alpha=1 / rows, adjust=False, ignore_nulls=True)
