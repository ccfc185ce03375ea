"""What a strategy that acts on forecasts would have earned, and how sure that is."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import DataError
from raytrain.metrics.checks import Floats, finite


def sharpe(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised Sharpe ratio: mean / sample deviation (ddof=1) * sqrt(periods_per_year). Higher is better.

    The returns are in excess of the risk-free rate, one per period, and must not overlap: a series of h-row returns
    taken on every row looks sqrt(h) times too good (see `overlapping_portfolio`).

    Returns:
        nan with fewer than two returns, or when they do not vary.

    Source: Sharpe (1994), The Sharpe ratio, Journal of Portfolio Management 21(1).
    """
    (returns,) = finite(returns=returns)
    if _is_constant(returns):
        return float("nan")
    return float(returns.mean() / returns.std(ddof=1) * np.sqrt(periods_per_year))


def sharpe_error(returns: ArrayLike, periods_per_year: float, lags: int) -> float:
    """Standard error of `sharpe`, annualised, when neighbouring returns depend on each other and are not normal.

    By the delta method from the long-run variance of what each return adds to the ratio. With 0 lags it is
    sqrt((1 - skewness * s + (kurtosis - 1) / 4 * s**2) / n) for the ratio s of one period; for normal returns
    sqrt((1 + s**2 / 2) / n).

    Args:
        returns: (n,) as for `sharpe`.
        periods_per_year: as for `sharpe`.
        lags: how far the dependence reaches; see `dependence_lags`.

    Returns:
        nan where `sharpe` is nan.

    Sources: Lo (2002), The statistics of Sharpe ratios, Financial Analysts Journal 58(4); Ledoit & Wolf (2008), Robust
        performance hypothesis testing with the Sharpe ratio, Journal of Empirical Finance 15(5).
    """
    (returns,) = finite(returns=returns)
    if _is_constant(returns):
        return float("nan")
    deviation = returns.std()
    ratio, standard = returns.mean() / deviation, (returns - returns.mean()) / deviation
    # How much each return moves the ratio: the slope of mean / deviation along the return and its square.
    influence = standard - ratio / 2 * (standard**2 - 1)
    return mean_error(influence, lags) * float(np.sqrt(periods_per_year))


def mean_error(values: ArrayLike, lags: int) -> float:
    """Standard error of the mean of values that depend on their neighbours up to `lags` periods away.

    Bartlett weights, no correction for the sample's size.

    Source: Newey & West (1987), A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent
        covariance matrix, Econometrica 55(3).
    """
    (values,) = finite(values=values)
    if not 0 <= lags < len(values):
        raise DataError(f"lags must lie in 0 to {len(values) - 1} for {len(values)} periods, got {lags}")
    centred = values - values.mean()
    total = centred @ centred
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag])
    # The sum cannot be below 0 but for rounding.
    return float(np.sqrt(max(total, 0.0)) / len(values))


def dependence_lags(num_periods: int, horizon: int = 1) -> int:
    """Lags for a standard error: 4 * (n / 100)**(2 / 9), and at least what overlapping forecasts share, horizon - 1.

    Source: Newey & West (1994), Automatic lag selection in covariance matrix estimation, Review of Economic Studies
        61(4).
    """
    return min(max(horizon - 1, int(4 * (num_periods / 100) ** (2 / 9))), num_periods - 1)


def holdings(positions: ArrayLike, horizon: int) -> tuple[Floats, NDArray[np.bool_]]:
    """What is held on each row by a strategy that holds each position for `horizon` rows.

    The capital is spread equally over the positions taken on the `horizon` rows before.

    Args:
        positions: (n,) taken at the close of each row; NaN where no forecast was made.
        horizon: rows that a position is held, at least 1.

    Returns:
        (n,) the mean of the positions that are held, 0 without one; (n,) whether there is one.
    """
    position = np.asarray(positions, np.float64)
    known = ~np.isnan(position)
    before = np.maximum(np.arange(len(position)) - horizon, 0)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, position, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    live_count = count[:-1] - count[before]
    return (total[:-1] - total[before]) / np.maximum(live_count, 1), live_count > 0


def overlapping_portfolio(
    positions: ArrayLike, one_row_returns: ArrayLike, horizon: int, cost_bp: ArrayLike = 0.0
) -> Floats:
    """One-row returns of a strategy whose positions are each held for `horizon` rows.

    On each row the capital is spread equally over the positions taken on the `horizon` rows before it, so a position
    formed at the close of row t earns the returns of rows t+1 to t+horizon, and the returns of overlapping forecasts
    do not overlap.

    Args:
        positions: (n,) taken at the close of each row: -1 short, 0 flat, 1 long; NaN where no forecast was made.
        one_row_returns: (n,) simple return from the row before to this one. Read only where a position is held, so
            the first may be NaN.
        horizon: rows that a position is held, at least 1.
        cost_bp: cost of trading the whole capital once, in basis points, one for all rows or (n,); charged on the
            change of what is held.

    Returns:
        (n,), NaN on rows where nothing is held and no cost is paid.

    Source: Jegadeesh & Titman (1993), Returns to buying winners and selling losers, Journal of Finance 48(1).
    """
    position, returns = np.asarray(positions, np.float64), np.asarray(one_row_returns, np.float64)
    if horizon < 1 or position.shape != returns.shape or position.ndim != 1:
        raise DataError(
            "a portfolio needs a horizon of at least 1 row and as many returns as positions, "
            f"got a horizon of {horizon}, {position.shape} positions and {returns.shape} returns"
        )
    held, live = holdings(position, horizon)
    if not np.isfinite(returns[live]).all() or np.isinf(position).any():
        raise DataError("positions and the returns they earn must be finite; give NaN only where no forecast was made")
    moved = np.abs(np.diff(held, prepend=0.0))
    cost = np.where(moved > 0, np.asarray(cost_bp, np.float64) / 1e4 * moved, 0.0)
    gained = np.where(live, held * returns, 0.0) - cost
    return np.where(live | (cost > 0), gained, np.nan)


def sized_positions(forecast: ArrayLike, volatility: ArrayLike, full_size: float) -> Floats:
    """Positions in proportion to forecast / volatility, at most the whole capital: -1 to 1.

    Args:
        forecast: (n,) of the change over the horizon.
        volatility: (n,) of the same change, in the same unit; where it is unknown (NaN) or 0, nothing is held.
        full_size: forecast / volatility at which the whole capital is held, above 0.

    Returns:
        (n,).

    Source: Moskowitz, Ooi & Pedersen (2012), Time series momentum, Journal of Financial Economics 104(2): positions
        scaled by volatility.
    """
    (forecast,), width = finite(forecast=forecast), np.asarray(volatility, np.float64)
    known = width > 0
    ratio = np.divide(forecast, width, out=np.zeros_like(forecast), where=known)
    return np.clip(ratio / full_size, -1.0, 1.0)


def max_drawdown(returns: ArrayLike) -> float:
    """Largest fall from a former high, the start included, of capital that compounds: 0.2 is 20 %. Lower is better.

    Args:
        returns: (n,) simple returns, one per period. A return of -1 or less is ruin: nothing compounds after it.

    Returns:
        0 (never below a high) to 1 (ruin).

    Source: Magdon-Ismail & Atiya (2004), Maximum drawdown, Risk 17(10).
    """
    (returns,) = finite(returns=returns)
    capital = np.cumprod(np.concatenate([[1.0], np.maximum(1 + returns, 0.0)]))
    return float(np.max(1 - capital / np.maximum.accumulate(capital)))


def _is_constant(returns: Floats) -> bool:
    """Whether there is no deviation to divide by: that of equal floats is rounding, not 0."""
    if len(returns) < 2:
        return True
    return bool(returns.std(ddof=1) <= 1e-12 * np.abs(returns).max())
