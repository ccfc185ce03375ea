"""Volatility of whole bars: what high, low and open tell beside the close."""

import math
from typing import Literal

import polars as pl
from pydantic import Field

from raytrain.data.frame import Frame
from raytrain.features.steps.base import Step, WindowLengths, known, log_change, private, rolling_mean, smoothed


class _BarStep(Step):
    high: str = "high"
    """Column with the row's highest price."""
    low: str = "low"
    """Column with the row's lowest price."""
    close: str | None = None
    """Column with the row's last price; the price column when not given."""

    def last(self, frame: Frame) -> str:
        """The column with the last price."""
        return self.close or frame.price


class ATR(_BarStep):
    """Average true range with Wilder's smoothing, in the price's unit (Wilder 1978, New Concepts in Technical Trading).

    The true range spans the row's high and low and the close before; a series' first row has none.
    """

    step: Literal["atr"] = "atr"
    rows: int = Field(14, ge=2)
    """Smoothing length."""
    relative: bool = False
    """Divide by the close: comparable over time and between series (known as NATR, as a share here)."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return self.high, self.low, self.last(frame)

    @property
    def lookback(self) -> int:
        return self.rows

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        before = known(self.last(frame)).shift(1)
        return [[_true_range(known(self.high), known(self.low), before).alias(self._range(frame))]]

    def _range(self, frame: Frame) -> str:
        return private(f"true range {self.high} {self.low} {self.last(frame)}")

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        close, average = known(self.last(frame)), smoothed(pl.col(self._range(frame)), self.rows, 1 / self.rows)
        if self.relative:
            average = pl.when(close != 0).then(average / close)
        name = f"{self.last(frame)}_{'natr' if self.relative else 'atr'}_{self.rows}"
        return [self.per_series(average, name)]


class RealisedVolatility(_BarStep):
    """Root mean square of a row's movement in a rolling window, as log return per row, not annualised.

    `close`: log returns from close to close. `parkinson`: the bar's range (Parkinson 1980, Journal of Business 53),
    `garman_klass`: range, open and close (Garman & Klass 1980, same volume); both need fewer rows for the same
    precision and do not see what happens between two bars.
    """

    step: Literal["realised_volatility"] = "realised_volatility"
    method: Literal["close", "parkinson", "garman_klass"] = "close"
    rows: WindowLengths
    """Rows in a window."""
    open: str = "open"
    """Column with the row's first price; for `garman_klass`."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        ends = {
            "close": (self.last(frame),),
            "parkinson": (self.high, self.low),
            "garman_klass": (self.open, self.high, self.low, self.last(frame)),
        }
        return ends[self.method]

    @property
    def lookback(self) -> int:
        return max(self.rows) - (self.method != "close")

    @property
    def needs_positive(self) -> bool:
        return True

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        return [[self._variance(known(self.last(frame))).alias(self._private(frame))]]

    def _private(self, frame: Frame) -> str:
        return private(f"{self.method} variance {' '.join(self.over(frame))}")

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        variance = pl.col(self._private(frame))
        short = {"close": "rv", "parkinson": "parkinson", "garman_klass": "gk"}[self.method]
        return [
            # Prices outside their own bar can make Garman-Klass negative.
            self.per_series(
                rolling_mean(variance, rows).clip(lower_bound=0).sqrt(), f"{self.last(frame)}_{short}_{rows}"
            )
            for rows in self.rows
        ]

    def _variance(self, close: pl.Expr) -> pl.Expr:
        """What one row says about the variance."""
        if self.method == "close":
            return log_change(close) ** 2
        span = (known(self.high) / known(self.low)).log() ** 2
        if self.method == "parkinson":
            return span / (4 * math.log(2))
        return span / 2 - (2 * math.log(2) - 1) * (close / known(self.open)).log() ** 2


def _true_range(high: pl.Expr, low: pl.Expr, before: pl.Expr) -> pl.Expr:
    """The range from the lowest to the highest of the three; null where one is unknown."""
    complete = high.is_not_null() & low.is_not_null() & before.is_not_null()
    return pl.when(complete).then(pl.max_horizontal(high, before) - pl.min_horizontal(low, before))
