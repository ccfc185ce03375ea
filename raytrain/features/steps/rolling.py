"""Statistics of one column in rolling windows."""

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from raytrain.data.frame import Frame
from raytrain.features.steps.base import (
    ColumnsStep,
    RowsBack,
    WindowStep,
    deviation,
    known,
    log_changes,
    private,
    rolling_mean,
    rolling_std,
    zscore,
)


class RollingMean(WindowStep):
    """Mean of the window."""

    step: Literal["rolling_mean"] = "rolling_mean"
    short: ClassVar[str] = "mean"

    def value(self, name: str, rows: int) -> pl.Expr:
        return rolling_mean(known(name), rows)


class RollingStd(WindowStep):
    """Sample standard deviation of the window, in the column's own unit."""

    step: Literal["rolling_std"] = "rolling_std"
    short: ClassVar[str] = "std"

    def value(self, name: str, rows: int) -> pl.Expr:
        return rolling_std(known(name), rows)


class ZScore(WindowStep):
    """Deviations of the value from its rolling mean; unknown where the window does not move."""

    step: Literal["zscore"] = "zscore"
    short: ClassVar[str] = "z"

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        return [[deviation(known(name), name, rows) for name in self.over(frame) for rows in self.rows]]

    def value(self, name: str, rows: int) -> pl.Expr:
        return zscore(known(name), name, rows)


class Bollinger(WindowStep):
    """Where the value lies between its Bollinger bands: 0 on the lower, 1 on the upper, outside beyond (%B).

    The bands are the rolling mean plus and minus some population deviations (Bollinger 2001, Bollinger on Bollinger
    Bands); unknown where the window does not move.
    """

    step: Literal["bollinger"] = "bollinger"
    short: ClassVar[str] = "bb"
    deviations: float = Field(2.0, gt=0)
    """Half the distance between the bands."""

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        return [
            [
                rolling_std(known(name), rows, ddof=0).alias(_band(name, rows))
                for name in self.over(frame)
                for rows in self.rows
            ]
        ]

    def value(self, name: str, rows: int) -> pl.Expr:
        half = self.deviations * pl.col(_band(name, rows))
        return pl.when(half > 0).then(0.5 + (known(name) - rolling_mean(known(name), rows)) / (2 * half))


class Volatility(WindowStep):
    """Standard deviation of one-row log returns in a rolling window, not annualised."""

    step: Literal["volatility"] = "volatility"
    short: ClassVar[str] = "vol"

    @property
    def lookback(self) -> int:
        return max(self.rows)

    @property
    def needs_positive(self) -> bool:
        return True

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        return [[log_changes(name) for name in self.over(frame)]]

    def value(self, name: str, rows: int) -> pl.Expr:
        return rolling_std(pl.col(private(f"{name} log change")), rows)


class EwmaVolatility(ColumnsStep):
    """Root of the exponentially weighted mean of squared one-row log returns, not annualised.

    RiskMetrics (1996) has a decay of 0.94 a day: a half-life of 11 rows.
    """

    step: Literal["ewma_volatility"] = "ewma_volatility"
    half_life: RowsBack = (11,)
    """Rows after which a return counts half; as many returns must be known."""

    @property
    def lookback(self) -> int:
        return max(self.half_life)

    @property
    def needs_positive(self) -> bool:
        return True

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        return [[log_changes(name) for name in self.over(frame)]]

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [
            self.per_series(_ewma(pl.col(private(f"{name} log change")) ** 2, rows).sqrt(), f"{name}_ewmavol_{rows}")
            for name in self.over(frame)
            for rows in self.half_life
        ]


def _ewma(value: pl.Expr, half_life: int) -> pl.Expr:
    return value.ewm_mean(half_life=half_life, min_samples=half_life, ignore_nulls=True)


def _band(name: str, rows: int) -> str:
    return private(f"{name} band {rows}")
