"""Probabilities that mean what they say: a fitted map from what a net claims to what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FloatArray


@dataclass(frozen=True)
class Platt:
    """p -> sigmoid(slope * logit(p) + intercept), for each output (Platt 1999).

    A slope below 1 takes confidence away (a temperature above 1); at 0 all rows get the base rate. It is never below 0:
    a net that is wrong on the rows kept aside is silenced, not believed the other way round.
    """

    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]

    @classmethod
    def fit(cls, y: FloatArray, probability: FloatArray, weight: FloatArray) -> Self:
        """Learn from rows that the net was not trained on.

        Labels are drawn in from 0 and 1 as if one more row of either class had been seen, so that rows of a single
        class give a finite map.

        Args:
            y: (n, outputs), 0 or 1.
            probability: (n, outputs, 1) of the net.
            weight: (n,) how much each row counts.
        """
        lines = [_fit_line(y[:, output], _logit(probability[:, output, 0]), weight) for output in range(y.shape[1])]
        return cls(tuple(slope for slope, _ in lines), tuple(intercept for _, intercept in lines))

    @classmethod
    def from_json(cls, values: Mapping[str, Sequence[float]]) -> Self:
        """Rebuild what `dataclasses.asdict` gave; floats survive exactly."""
        return cls(tuple(values["slopes"]), tuple(values["intercepts"]))

    def apply(self, probability: FloatArray) -> FloatArray:
        """(n, outputs, 1) calibrated probabilities."""
        from scipy.special import expit

        slope, intercept = (np.array(values)[:, None] for values in (self.slopes, self.intercepts))
        calibrated: FloatArray = expit(slope * _logit(probability) + intercept).astype(np.float32)
        return calibrated


def _logit(probability: NDArray[Any]) -> NDArray[np.float64]:
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p))


def _fit_line(y: FloatArray, logit: NDArray[np.float64], weight: FloatArray) -> tuple[float, float]:
    """Slope and intercept with the lowest cross entropy, which is convex in them."""
    from scipy.optimize import minimize
    from scipy.special import expit

    weight = weight / weight.mean(dtype=np.float64)
    num_ones, num_zeros = float(weight @ y), float(weight @ (1 - y))
    target = np.where(y > 0, (num_ones + 1) / (num_ones + 2), 1 / (num_zeros + 2))

    def loss_and_gradient(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = line[0] * logit + line[1]
        error = weight * (expit(z) - target)
        return float(weight @ (np.logaddexp(0, z) - target * z)), np.array([error @ logit, error.sum()])

    found = minimize(loss_and_gradient, np.array([1.0, 0.0]), jac=True, bounds=[(0, None), (None, None)])
    return float(found.x[0]), float(found.x[1])
