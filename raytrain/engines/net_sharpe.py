"""The Sharpe ratio of positions net of costs, with its gradient, and a line that is trained on it."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FitData, RowIndices
from raytrain.engines.linear import Line
from raytrain.engines.native import table

Floats = NDArray[np.float64]

_CORNER = 1e-3
"""Change of a position below which its cost is rounded off, so that the cost has a gradient everywhere."""
_NOTHING = 1e-24
"""Variance that keeps a reward that never varies from a division by 0."""


class Sharpe(NamedTuple):
    """A ratio of mean reward to its deviation, per date, and how it moves."""

    ratio: float
    by_position: Floats
    """(n,) its derivative by each position."""
    by_variance: float
    """Its derivative by variance that is added to that of the rewards."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """Rows that a position is taken on, series after series, dates rising, and what it earns."""

    x: Floats
    """(n, features)."""
    y: Floats
    """(n,) what a position of 1 earns over the horizon."""
    date: NDArray[np.intp]
    """(n,) which date each row is of."""
    share: Floats
    """(n,) of its date's reward."""
    date_share: Floats
    """(dates,) of the mean reward."""
    replaced: NDArray[np.intp]
    """(n,) the row whose position each one replaces: `horizon` rows before; -1 for none."""
    cost: float
    """Of a change of position by 1, in the unit of `y`."""

    @classmethod
    def make(cls, data: FitData, rows: RowIndices, horizon: int, cost: float) -> Self:
        """The chosen rows of a fit."""
        x, y = table(data, rows)
        weight, series = data.weight[rows].astype(np.float64), data.series[rows]
        _, date, counts = np.unique(data.date[rows], return_inverse=True, return_counts=True)
        of_date = np.bincount(date, weight)
        before = np.maximum(np.arange(len(rows)) - horizon, -1)
        # Weights say how much a date counts, not the number of series that trade on it.
        date_weight = of_date / counts
        return cls(
            x=x.astype(np.float64),
            y=y,
            date=date,
            share=weight / of_date[date],
            date_share=date_weight / date_weight.sum(),
            replaced=np.where(series[before] == series, before, -1),
            cost=cost,
        )

    def constant(self) -> Line:
        """The better of always long and always short, before costs."""
        mean = self.date_share @ np.bincount(self.date, self.share * self.y)
        return Line(1.0 if mean >= 0 else -1.0, np.zeros(self.x.shape[1]))

    def positions(self, line: Line) -> Floats:
        """(n,) in [-1, 1]."""
        return np.asarray(np.tanh(line.score(self.x)))

    def sharpe(self, position: Floats, added_variance: float = 0.0) -> Sharpe:
        """The ratio net of costs, of positions that start from flat."""
        holds = self.replaced >= 0
        change = position - np.where(holds, position[self.replaced], 0)
        paid = np.sqrt(change**2 + _CORNER**2)
        reward = self.share * (position * self.y - self.cost * (paid - _CORNER))
        by_date = np.bincount(self.date, reward)
        mean = float(self.date_share @ by_date)
        variance = float(self.date_share @ (by_date - mean) ** 2) + added_variance + _NOTHING
        ratio = mean / math.sqrt(variance)
        by_reward = self.date_share * (1 - mean * (by_date - mean) / variance) / math.sqrt(variance)
        earned = by_reward[self.date] * self.share
        turned = earned * self.cost * change / paid
        by_position = earned * self.y - turned
        by_position[self.replaced[holds]] += turned[holds]
        return Sharpe(ratio, by_position, -ratio / (2 * variance))

    def objective(self, weights: Floats, penalty: float) -> tuple[float, Floats]:
        """What training lowers: minus the net Sharpe ratio, and its gradient.

        Args:
            weights: (1 + features,) intercept and slope of the score, in any unit: it is scaled to a mean square of 1.
            penalty: times the squared slope times the variance of `y` is added to the variance of the rewards: the
                more a score leans on features, the riskier it counts.
        """
        score = weights[0] + self.x @ weights[1:]
        share = self.date_share[self.date] * self.share
        scale = math.sqrt(share @ score**2)
        z, slope = score / scale, weights[1:] / scale
        position = np.tanh(z)
        unit = penalty * float(share @ self.y**2)
        sharpe = self.sharpe(position, unit * float(slope @ slope))
        by_z, by_slope = sharpe.by_position * (1 - position**2), 2 * unit * sharpe.by_variance * slope
        # All of it falls as the scale rises, which every score moves by its share.
        by_scale = by_z @ z + by_slope @ slope
        by_score = (by_z - share * z * by_scale) / scale
        gradient = np.concatenate([[by_score.sum()], self.x.T @ by_score + by_slope / scale])
        return -sharpe.ratio, -gradient

    def train(self, start: Line, penalty: float, num_iterations: int) -> Line:
        """The line with the best penalised Sharpe ratio that is found from `start`."""
        from scipy.optimize import minimize

        weights = np.concatenate([[start.intercept], start.slope])
        options = {"maxiter": num_iterations}
        found = minimize(self.objective, weights, (penalty,), "L-BFGS-B", jac=True, options=options).x
        score = found[0] + self.x @ found[1:]
        scale = math.sqrt((self.date_share[self.date] * self.share) @ score**2)
        return Line(float(found[0] / scale), found[1:] / scale)
