"""Volatility of whole bars: what high, low and open tell beside the close."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from raytrain.data.frame import Frame
from raytrain.features.steps.base import Input, SeriesStep, WindowLengths
from raytrain.features.steps.kernels import Array, log_change, ratio, rolling_mean, shifted, smoothed


class _BarStep(SeriesStep):
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

    @property
    def lookback(self) -> int:
        return self.rows

    def inputs(self, frame: Frame) -> list[Input]:
        return [Input(self.last(frame), (self.high, self.low, self.last(frame)))]

    @property
    def endings(self) -> list[str]:
        return [f"_{'natr' if self.relative else 'atr'}_{self.rows}"]

    def values(self, *columns: Array) -> list[Array]:
        high, low, close = columns
        before = shifted(close, 1)
        average = smoothed(np.maximum(high, before) - np.minimum(low, before), self.rows, 1 / self.rows)
        return [ratio(average, close) if self.relative else average]


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

    @property
    def lookback(self) -> int:
        return max(self.rows) - (self.method != "close")

    @property
    def needs_positive(self) -> bool:
        return True

    def inputs(self, frame: Frame) -> list[Input]:
        ends = {
            "close": (self.last(frame),),
            "parkinson": (self.high, self.low),
            "garman_klass": (self.open, self.high, self.low, self.last(frame)),
        }
        return [Input(self.last(frame), ends[self.method])]

    @property
    def endings(self) -> list[str]:
        short = {"close": "rv", "parkinson": "parkinson", "garman_klass": "gk"}[self.method]
        return [f"_{short}_{rows}" for rows in self.rows]

    def values(self, *columns: Array) -> Iterator[Array]:
        variance = _VARIANCES[self.method](*columns)
        # Prices outside their own bar can make Garman-Klass negative.
        return (np.sqrt(np.maximum(rolling_mean(variance, rows), 0)) for rows in self.rows)


def _of_close(close: Array) -> Array:
    """What one row says about the variance."""
    squares: Array = log_change(close) ** 2
    return squares


def _of_range(high: Array, low: Array) -> Array:
    squares: Array = np.log(high / low) ** 2
    return squares / (4 * math.log(2))


def _of_bar(first: Array, high: Array, low: Array, last: Array) -> Array:
    squares: Array = np.log(high / low) ** 2 / 2 - (2 * math.log(2) - 1) * np.log(last / first) ** 2
    return squares


_VARIANCES: dict[str, Callable[..., Array]] = {
    "close": _of_close,
    "parkinson": _of_range,
    "garman_klass": _of_bar,
}
