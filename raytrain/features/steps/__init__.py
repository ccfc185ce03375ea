"""Features as small named pure steps, each with the look-back it needs; one file per theme."""

from typing import Annotated

from pydantic import Field

from raytrain.features.steps.bars import ATR, RealisedVolatility
from raytrain.features.steps.base import SeriesStep, Step, TableStep
from raytrain.features.steps.calendar import Calendar, DaysTo
from raytrain.features.steps.correlation import Correlation
from raytrain.features.steps.garch import Garch
from raytrain.features.steps.momentum import MACD, RSI
from raytrain.features.steps.regimes import Regime
from raytrain.features.steps.rolling import Bollinger, EwmaVolatility, RollingMean, RollingStd, Volatility, ZScore
from raytrain.features.steps.values import AsIs, Difference, Lag, LogReturn, Spread

AnyStep = Annotated[
    AsIs
    | Lag
    | LogReturn
    | Difference
    | Spread
    | RollingMean
    | RollingStd
    | ZScore
    | Bollinger
    | Volatility
    | EwmaVolatility
    | RealisedVolatility
    | Garch
    | ATR
    | RSI
    | MACD
    | Correlation
    | Calendar
    | DaysTo
    | Regime,
    Field(discriminator="step"),
]

__all__ = [
    "ATR",
    "MACD",
    "RSI",
    "AnyStep",
    "AsIs",
    "Bollinger",
    "Calendar",
    "Correlation",
    "DaysTo",
    "Difference",
    "EwmaVolatility",
    "Garch",
    "Lag",
    "LogReturn",
    "RealisedVolatility",
    "Regime",
    "RollingMean",
    "RollingStd",
    "SeriesStep",
    "Spread",
    "Step",
    "TableStep",
    "Volatility",
    "ZScore",
]
