"""GARCH volatility without look-ahead."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.data.frame import DATE, Frame
from raytrain.features.steps.base import Piece, Step
from raytrain.features.steps.kernels import log_change
from raytrain.features.steps.panel import Panel

Returns = NDArray[np.float64]
_MOST_RETURNS = 5000


class Garch(Step):
    """The next row's volatility by a GARCH(1,1), as log return per row, not annualised (Bollerslev 1986).

    Parameters are estimated by quasi maximum likelihood (the `arch` package, mean 0) once `min_rows` returns of a
    series are known, then again at the start of each calendar block on what was known before it, at most the newest
    5,000 returns; in between the variance is only filtered forward. An estimate that does not converge leaves the
    parameters as they were. Unknown where the return is unknown, and until a first estimate has succeeded.
    """

    step: Literal["garch"] = "garch"
    columns: tuple[str, ...] = ()
    """Columns to work on; the price column when empty."""
    refit: Literal["1mo", "1q", "1y"] = "1y"
    """Calendar length of a block. One estimate takes milliseconds, for each series and block."""
    min_rows: int = Field(500, ge=100)
    """Returns before the first estimate."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return self.columns or (frame.price,)

    @property
    def lookback(self) -> int:
        return self.min_rows

    @property
    def needs_positive(self) -> bool:
        return True

    def names(self, frame: Frame) -> list[str]:
        return [f"{name}_garch" for name in self.over(frame)]

    def pieces(self, panel: Panel) -> Iterator[Piece]:
        block = panel.frame.table[DATE].dt.truncate(self.refit).to_physical().to_numpy()
        for place, name in enumerate(self.over(panel.frame)):
            column = panel.column(name)
            for rows in panel.slices():
                volatility = forecast_volatility(log_change(column[rows]), block[rows], self.min_rows)
                yield Piece(place, rows, volatility[None].astype(np.float32))


class _Parameters(NamedTuple):
    """Next variance = omega + alpha * return^2 + beta * variance."""

    omega: float
    alpha: float
    beta: float


def forecast_volatility(change: Returns, block: NDArray[np.int64], min_rows: int) -> Returns:
    """The deviation of the next row's return, told by the returns up to each row.

    Args:
        change: (rows,) returns of one series; NaN where unknown.
        block: (rows,) rising; the parameters are estimated anew where it changes.
        min_rows: known returns before the first estimate.

    Returns:
        (rows,) NaN where unknown.
    """
    rows = np.flatnonzero(np.isfinite(change))
    returns, volatility = change[rows], np.full(len(change), np.nan)
    starts = np.flatnonzero(np.diff(block[rows])) + 1
    # The first value stands on the row that completes the first estimate; later estimates end before their block.
    cuts = [min_rows - 1, *starts[starts >= min_rows], len(returns)] if len(returns) >= min_rows else []
    parameters = None
    for start, stop in pairwise(cuts):
        parameters = _estimate(returns[: max(start, min_rows)]) or parameters
        if parameters is not None:
            first = float(np.mean(returns[:min_rows] ** 2))
            volatility[rows[start:stop]] = np.sqrt(_variance(returns[:stop], parameters, first)[start:])
    return volatility


def _estimate(returns: Returns) -> _Parameters | None:
    """Parameters by quasi maximum likelihood; None where the search does not converge or nothing moves."""
    from arch.univariate import GARCH, ZeroMean

    newest = returns[-_MOST_RETURNS:]
    scale = float(newest.std())
    if scale <= 1e-12:
        return None
    model = ZeroMean(newest / scale, volatility=GARCH(p=1, q=1), rescale=False)
    found = model.fit(disp="off", show_warning=False)
    if found.convergence_flag != 0:
        return None
    # Rounded, so that the last bits of an optimiser do not make another machine fit everything again.
    omega, alpha, beta = (float(f"{value:.6g}") for value in found.params)
    return _Parameters(omega * scale**2, alpha, beta)


def _variance(returns: Returns, parameters: _Parameters, first: float) -> Returns:
    """(rows,) the next row's variance; `first` is the variance before the first return."""
    from scipy.signal import lfilter

    omega, alpha, beta = parameters
    path: Returns = lfilter([1.0], [1.0, -beta], omega + alpha * returns**2, zi=[beta * first])[0]
    return path
