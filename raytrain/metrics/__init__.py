"""Measures of forecasts: arrays in, numbers out, computed in float64.

Every measure refuses (DataError) empty arrays, arrays of different lengths and NaN or infinite values: a row that is
not known is left out by the caller, who then knows how many rows are left.
Names: a `*_loss` or an error is better when lower; coverage is better when near its nominal value.
"""

from raytrain.metrics.checks import Floats
from raytrain.metrics.labels import brier, log_loss, precision_at_base_rate, roc_auc
from raytrain.metrics.point import directional_accuracy, mae, mape, rmse, smape
from raytrain.metrics.quantiles import (
    coverage,
    crps,
    level_weights,
    pinball_loss,
    pinball_losses,
    pit_shares,
    shares_below,
)
from raytrain.metrics.strategy import (
    dependence_lags,
    holdings,
    max_drawdown,
    mean_error,
    overlapping_portfolio,
    sharpe,
    sharpe_error,
    sized_positions,
)

__all__ = [
    "Floats",
    "brier",
    "coverage",
    "crps",
    "dependence_lags",
    "directional_accuracy",
    "holdings",
    "level_weights",
    "log_loss",
    "mae",
    "mape",
    "max_drawdown",
    "mean_error",
    "overlapping_portfolio",
    "pinball_loss",
    "pinball_losses",
    "pit_shares",
    "precision_at_base_rate",
    "rmse",
    "roc_auc",
    "shares_below",
    "sharpe",
    "sharpe_error",
    "sized_positions",
    "smape",
]
