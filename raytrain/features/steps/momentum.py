"""Recursive averages of changes and values."""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from raytrain.features.steps.base import ColumnsStep
from raytrain.features.steps.kernels import Array, change, ratio, smoothed


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

    @property
    def endings(self) -> list[str]:
        return [f"_rsi_{self.rows}"]

    def values(self, *columns: Array) -> list[Array]:
        (x,) = columns
        moves = change(x)
        up, move = (smoothed(one, self.rows, 1 / self.rows) for one in (np.maximum(moves, 0), np.abs(moves)))
        return [np.where(move == 0, 50.0, 100 * (up / move))]


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

    @property
    def endings(self) -> list[str]:
        short, lengths = "ppo" if self.relative else "macd", f"{self.fast}_{self.slow}_{self.signal}"
        return [f"_{short}_{part}{lengths}" for part in ("", "signal_", "hist_")]

    def values(self, *columns: Array) -> list[Array]:
        (x,) = columns
        fast, slow = (_exponential(x, rows) for rows in (self.fast, self.slow))
        line = ratio(fast - slow, slow) if self.relative else fast - slow
        signal = _exponential(line, self.signal)
        return [line, signal, line - signal]


def _exponential(x: Array, rows: int) -> Array:
    return smoothed(x, rows, 2 / (rows + 1))
