"""Recursive averages of changes and values."""

from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from raytrain.data.frame import Frame
from raytrain.features.steps.base import ColumnsStep, known, private, smoothed


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

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        columns = self.over(frame)
        return [
            [known(name).diff().alias(private(f"{name} change")) for name in columns],
            [average for name in columns for average in self._up_and_down(name)],
        ]

    def _up_and_down(self, name: str) -> list[pl.Expr]:
        change = pl.col(private(f"{name} change"))
        moves = {"up": change.clip(lower_bound=0), "down": (-change).clip(lower_bound=0)}
        return [
            smoothed(move, self.rows, 1 / self.rows).alias(private(f"{name} {side} {self.rows}"))
            for side, move in moves.items()
        ]

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [self._rsi(name).alias(f"{name}_rsi_{self.rows}") for name in self.over(frame)]

    def _rsi(self, name: str) -> pl.Expr:
        up, down = (pl.col(private(f"{name} {side} {self.rows}")) for side in ("up", "down"))
        return pl.when(up + down > 0).then(100 * up / (up + down)).when(up + down == 0).then(50.0)


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

    def stages(self, frame: Frame) -> list[list[pl.Expr]]:
        columns = self.over(frame)
        return [
            [_exponential(known(name), rows).alias(_average(name, rows)) for name in columns for rows in self._lengths],
            [self._line(name).alias(self._private(name, "line")) for name in columns],
            [
                _exponential(pl.col(self._private(name, "line")), self.signal).alias(self._private(name, "signal"))
                for name in columns
            ],
        ]

    @property
    def _lengths(self) -> tuple[int, int]:
        return self.fast, self.slow

    @property
    def _short(self) -> str:
        return "ppo" if self.relative else "macd"

    def _private(self, name: str, part: str) -> str:
        return private(f"{name} {self._short} {part} {self.fast} {self.slow} {self.signal}")

    def _line(self, name: str) -> pl.Expr:
        fast, slow = (pl.col(_average(name, rows)) for rows in self._lengths)
        return pl.when(slow != 0).then((fast - slow) / slow) if self.relative else fast - slow

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        return [expression for name in self.over(frame) for expression in self._three(name)]

    def _three(self, name: str) -> list[pl.Expr]:
        line, signal = (pl.col(self._private(name, part)) for part in ("line", "signal"))
        parts = {"": line, "signal_": signal, "hist_": line - signal}
        return [
            value.alias(f"{name}_{self._short}_{part}{self.fast}_{self.slow}_{self.signal}")
            for part, value in parts.items()
        ]


def _exponential(value: pl.Expr, rows: int) -> pl.Expr:
    return smoothed(value, rows, 2 / (rows + 1))


def _average(name: str, rows: int) -> str:
    return private(f"{name} average {rows}")
