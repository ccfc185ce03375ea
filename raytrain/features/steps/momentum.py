"""Recursive averages of changes and values."""

from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from raytrain.data.frame import Frame
from raytrain.features.steps.base import ColumnsStep, known, smoothed


class RSI(ColumnsStep):
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
        return [self.per_series(_rsi(known(name), self.rows), f"{name}_rsi_{self.rows}") for name in self.over(frame)]


class MACD(ColumnsStep):
    """Moving average convergence/divergence: line, signal and histogram (Appel 2005, Technical Analysis).

    The line is a fast minus a slow exponential average, the signal an exponential average of the line, the histogram
    line minus signal. Each average begins with the plain mean of its first values.
    """

    step: Literal["macd"] = "macd"
    fast: int = Field(12, ge=1)
    slow: int = Field(26, ge=2)
    signal: int = Field(9, ge=1)
    relative: bool = False
    """Divide all three by the slow average: comparable over time and between series (known as PPO)."""

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if self.fast >= self.slow:
            raise ValueError("`fast` must be below `slow`")
        return self

    @property
    def lookback(self) -> int:
        return self.slow + self.signal - 2

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [expression for name in self.over(frame) for expression in self._three(name)]

    def _three(self, column: str) -> list[pl.Expr]:
        slow = _exponential(known(column), self.slow)
        line = _exponential(known(column), self.fast) - slow
        if self.relative:
            line = pl.when(slow != 0).then(line / slow)
        signal = _exponential(line, self.signal)
        name = f"{column}_{'ppo' if self.relative else 'macd'}"
        lengths = f"{self.fast}_{self.slow}_{self.signal}"
        return [
            self.per_series(line, f"{name}_{lengths}"),
            self.per_series(signal, f"{name}_signal_{lengths}"),
            self.per_series(line - signal, f"{name}_hist_{lengths}"),
        ]


def _rsi(value: pl.Expr, rows: int) -> pl.Expr:
    change = value.diff()
    up = smoothed(change.clip(lower_bound=0), rows, 1 / rows)
    down = smoothed((-change).clip(lower_bound=0), rows, 1 / rows)
    return pl.when(up + down > 0).then(100 * up / (up + down)).when(up + down == 0).then(50.0)


def _exponential(value: pl.Expr, rows: int) -> pl.Expr:
    return smoothed(value, rows, 2 / (rows + 1))
