"""Forecasts of how far a price will move, from what is known at each row."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the contract of all families names a `VolatilityKind`, and must stay quick to import
    from raytrain.features.history import PricePath

VolatilityKind = Literal["har", "ewma", "none"]

Floats = NDArray[np.float64]

RISKMETRICS = 0.94
"""Decay per row of the exponentially weighted variance (J.P. Morgan 1996, RiskMetrics Technical Document)."""

# A day, a week and a month (Corsi 2009), and a quarter.
_WINDOWS = (1, 5, 22, 66)
_RANGE_WINDOWS = (1, 5)
_DOWN_ROWS = 5
# Measures are shares of a series' own long-run level, so that one regression serves all series.
_LEVEL_ROWS = 250
# A range or an implied deviation that is older than this is unknown.
_MOST_AGE = 5
# The least forecast, as a share of the long-run level: a price that stands still will move again.
_FLOOR = 0.1
# A deviation below this is rounding: nothing has moved.
_STILL = 1e-12
# With fewer rows a regression would follow single days.
_FEWEST_ROWS = 100


@dataclass(frozen=True)
class Volatility:
    """A fitted forecast of the deviation of the change over the next `horizon` rows.

    A row's forecast depends on its own series up to that row only, to the bit. It is positive and finite on every
    row: where a series has not moved yet, the typical deviation of the training rows stands in.
    """

    kind: VolatilityKind
    horizon: int
    coefficients: tuple[tuple[float, ...] | None, ...]
    """For each of the `_sets` of measures, the share of each measure; None where training had too few rows."""
    typical: float
    """Deviation of one row's change over all training rows."""
    scale: float
    """What makes the squared forecasts right on average over the training rows."""

    def forecast(self, path: "PricePath", rows: NDArray[Any]) -> Floats:
        """(k,) deviation of the change over the next `horizon` rows after each of `rows`, in the unit of the path."""
        per_row = _per_row(*_measures(self.kind, path), self.coefficients, self.typical)
        return np.asarray(self.scale * np.sqrt(self.horizon) * per_row[rows])

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild a frozen forecast."""
        coefficients = tuple(None if one is None else tuple(one) for one in values["coefficients"])
        return cls(**values | {"coefficients": coefficients})


def fit_volatility(kind: VolatilityKind, path: "PricePath", rows: NDArray[Any], horizon: int) -> Volatility:
    """Learn from training rows, of all series together.

    `har` (Corsi 2009, on deviations): the root mean square of the next changes, regressed on those of the last 1, 5,
    22 and 66 rows, on the last falls (Corsi & Renò 2012), and where they are known on the range (Parkinson 1980) and on
    the implied deviation. Coefficients are at least 0, so forecasts are positive. `ewma` is RiskMetrics' with its scale
    learned.

    Args:
        kind: `har` or `ewma`.
        path: what prices did; no row beyond `horizon` after the last of `rows` of its series is read.
        rows: (n,) indices of the training rows. One whose next `horizon` changes are not in the path teaches nothing.
        horizon: rows ahead.
    """
    assert kind != "none"
    rows = rows[rows < len(path.series) - horizon]
    rows = rows[path.series[rows] == path.series[rows + horizon]]
    ahead = np.stack([path.change[rows + step] for step in range(1, horizon + 1)])
    typical = float(np.sqrt(_mean(ahead**2))) or 1.0
    measures, level = _measures(kind, path)
    coefficients: tuple[tuple[float, ...] | None, ...] = ((1.0,),)
    if kind == "har":
        moved = np.sqrt((ahead**2).mean(axis=0))
        taught = np.isfinite(moved) & (level[rows] > _STILL)
        chosen = rows[taught]
        coefficients = _regress(measures[:, chosen], moved[taught] / level[chosen])
    plain = Volatility(kind, horizon, coefficients, typical, 1.0)
    surprise = ahead.sum(axis=0) / plain.forecast(path, rows)
    scale = float(np.sqrt(_mean(surprise**2))) or 1.0
    return Volatility(kind, horizon, coefficients, typical, scale)


def _mean(values: Floats) -> float:
    """Of the known values; 0 without any."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def _sets(num_measures: int) -> list[list[int]]:
    """Which measures are used together, the poorest set first: the range and what is implied are not always known."""
    if num_measures == 1:
        return [[0]]
    always = list(range(len(_WINDOWS) + 2))
    ranges = [len(always) + place for place in range(len(_RANGE_WINDOWS))]
    implied = [num_measures - 1]
    return [always, always + ranges, always + implied, always + ranges + implied]


def _regress(measures: Floats, target: Floats) -> tuple[tuple[float, ...] | None, ...]:
    """Non-negative least squares of (n,) on each set of (measures, n) over the rows on which it is known.

    Where even the poorest set has too few rows, all windows count alike.
    """
    found = [_shares(measures[chosen], target) for chosen in _sets(len(measures))]
    if found[0] is None:
        found[0] = (*np.full(len(_WINDOWS), 1 / len(_WINDOWS)).tolist(), 0.0, 0.0)
    return tuple(found)


def _shares(measures: Floats, target: Floats) -> tuple[float, ...] | None:
    from scipy.optimize import nnls

    known = np.isfinite(measures).all(axis=0)
    if known.sum() < _FEWEST_ROWS:
        return None
    # The triangle has the same solution as the table, and no more rows than columns.
    triangle: Floats = np.asarray(np.linalg.qr(np.column_stack([*measures[:, known], target[known]]), "r"))
    shares, _ = nnls(triangle[:, :-1], triangle[:, -1])
    # Rounded, so that the last bits of a solver do not make another machine forecast differently.
    return tuple(float(f"{share:.6g}") for share in shares)


def _per_row(
    measures: Floats, level: Floats, coefficients: tuple[tuple[float, ...] | None, ...], typical: float
) -> Floats:
    """(rows,) deviation of one row's change: by the richest set of measures that is known."""
    relative = np.full(len(level), np.nan)
    for chosen, shares in zip(_sets(len(measures)), coefficients, strict=True):
        if shares is not None:
            # Summed one by one: a matrix product may round a row differently when there are more of them.
            found: Floats = np.zeros(len(level))
            for place, share in zip(chosen, shares, strict=True):
                found = found + share * measures[place]
            relative = np.where(np.isnan(found), relative, found)
    return np.where(level > _STILL, np.maximum(relative, _FLOOR) * level, typical)


def _measures(kind: VolatilityKind, path: "PricePath") -> tuple[Floats, Floats]:
    """(measures, rows) as shares of the long-run level, NaN where unknown, and (rows,) that level.

    The level is 0 until a series has moved. All are deviations, not variances, so that a single wild day does not rule
    the regression.
    """
    of_series = _har_measures if kind == "har" else _ewma_measures
    bounds = np.flatnonzero(np.diff(path.series, prepend=-1, append=-1))
    parts = [of_series(path, slice(start, stop)) for start, stop in pairwise(bounds)]
    level = np.sqrt(np.concatenate([part[1] for part in parts]))
    return np.sqrt(np.concatenate([part[0] for part in parts], axis=1)), level


def _ewma_measures(path: "PricePath", rows: slice) -> tuple[Floats, Floats]:
    """The same for one series, squared."""
    squared = path.change[rows] ** 2
    level = _long_run(squared)
    return _ratio(_of_known(squared, partial(_ewma, decay=RISKMETRICS)), level)[None], level


def _har_measures(path: "PricePath", rows: slice) -> tuple[Floats, Floats]:
    """The same for one series, squared."""
    change = path.change[rows]
    squared, falls = change**2, np.where(change > 0, 0.0, change**2)
    parkinson, implied = path.range[rows] ** 2 / (4 * np.log(2)), path.implied[rows] ** 2
    level = _long_run(squared)
    measures = [
        *(_ratio(_of_known(squared, partial(_mean_of_last, num=num)), level) for num in _WINDOWS),
        _ratio(_of_known(falls, partial(_mean_of_last, num=_DOWN_ROWS)), level),
        np.ones(len(level)),
        *(_ratio(_recent(parkinson, partial(_mean_of_last, num=num)), level) for num in _RANGE_WINDOWS),
        # Against its own level: the options may be on another market, and they bear a premium.
        _ratio(_recent(implied, np.asarray), _long_run(implied)),
    ]
    return np.stack(measures), level


def _ratio(values: Floats, level: Floats) -> Floats:
    """NaN where there is no level."""
    return np.asarray(np.divide(values, level, out=np.full(len(values), np.nan), where=level > _STILL**2))


def _long_run(values: Floats) -> Floats:
    """Slow trailing mean; 0 before the first known value."""
    return np.nan_to_num(_of_known(values, partial(_ewma, decay=1 - 1 / _LEVEL_ROWS)))


def _recent(values: Floats, measure: Callable[[Floats], Floats]) -> Floats:
    """The same as `_of_known`, unknown where the last known value is old."""
    age = np.arange(len(values)) - _last_known(values)
    return np.where(age > _MOST_AGE, np.nan, _of_known(values, measure))


def _of_known(values: Floats, measure: Callable[[Floats], Floats]) -> Floats:
    """`measure` of the known values alone; other rows have that of the last known one, NaN where there is none."""
    known = np.isfinite(values)
    measured = np.append(measure(values[known]), np.nan)
    return np.asarray(measured[np.cumsum(known) - 1])


def _last_known(values: Floats) -> NDArray[np.int64]:
    """(rows,) index of the last known value up to each row, or far before the first row."""
    places = np.where(np.isfinite(values), np.arange(len(values)), -len(values) - _MOST_AGE)
    return np.asarray(np.maximum.accumulate(places))


def _mean_of_last(values: Floats, num: int) -> Floats:
    """(rows,) mean of the last `num` values, of those there are on the first rows; of values at least 0."""
    total = np.cumsum(values)
    before = np.concatenate([np.zeros(min(num, len(values))), total[:-num]])
    # A small window behind a huge value comes out below 0 by rounding.
    mean: Floats = np.maximum(total - before, 0.0) / np.minimum(np.arange(1, len(values) + 1), num)
    return mean


def _ewma(values: Floats, decay: float) -> Floats:
    """(rows,) exponentially weighted mean; the first rows share the weight of those that were never seen."""
    from scipy.signal import lfilter

    weight = -np.expm1(np.log(decay) * np.arange(1, len(values) + 1)) / (1 - decay)
    return np.asarray(lfilter([1.0], [1.0, -decay], values) / weight)
