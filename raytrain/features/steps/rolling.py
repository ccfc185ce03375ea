"""Statistics of one column in rolling windows."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from raytrain.features.steps.base import ColumnsStep, RowsBack, WindowStep
from raytrain.features.steps.kernels import Array, faded_mean, log_change, rolling_mean, rolling_std, score


class RollingMean(WindowStep):
    """Mean of the window."""

    step: Literal["rolling_mean"] = "rolling_mean"
    short: ClassVar[str] = "mean"

    def value(self, x: Array, rows: int) -> Array:
        return rolling_mean(x, rows)


class RollingStd(WindowStep):
    """Sample standard deviation of the window, in the column's own unit."""

    step: Literal["rolling_std"] = "rolling_std"
    short: ClassVar[str] = "std"

    def value(self, x: Array, rows: int) -> Array:
        return rolling_std(x, rows)


class ZScore(WindowStep):
    """Deviations of the value from its rolling mean; unknown where the window does not move."""

    step: Literal["zscore"] = "zscore"
    short: ClassVar[str] = "z"

    def value(self, x: Array, rows: int) -> Array:
        return score(x, rows)


class Bollinger(WindowStep):
    """Where the value lies between its Bollinger bands: 0 on the lower, 1 on the upper, outside beyond (%B).

    The bands are the rolling mean plus and minus some population deviations (Bollinger 2001, Bollinger on Bollinger
    Bands); unknown where the window does not move.
    """

    step: Literal["bollinger"] = "bollinger"
    short: ClassVar[str] = "bb"
    deviations: float = Field(2.0, gt=0)
    """Half the distance between the bands."""

    def value(self, x: Array, rows: int) -> Array:
        return 0.5 + score(x, rows, ddof=0) / (2 * self.deviations)


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

    def values(self, *columns: Array) -> Iterator[Array]:
        return super().values(*map(log_change, columns))

    def value(self, x: Array, rows: int) -> Array:
        return rolling_std(x, rows)


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

    @property
    def endings(self) -> list[str]:
        return [f"_ewmavol_{rows}" for rows in self.half_life]

    def values(self, *columns: Array) -> Iterator[Array]:
        (x,) = columns
        squares = log_change(x) ** 2
        return (np.sqrt(faded_mean(squares, rows)) for rows in self.half_life)
