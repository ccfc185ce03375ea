"""Regimes as a Gaussian mixture, followed through time without a look ahead; mixtures of what each would forecast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Regimes:
    """A Gaussian mixture over components of some features, whose regimes follow each other as a Markov chain."""

    center: Floats
    """(features,)."""
    axes: Floats
    """(features, components) from features to components."""
    means: Floats
    """(regimes, components)."""
    whitening: Floats
    """(regimes, components, components) Cholesky factors of the inverse covariances."""
    start: Floats
    """(regimes,) share of the training rows."""
    transition: Floats
    """(regimes, regimes) from row to column, each row summing to 1."""

    def probabilities(self, windows: NDArray[Any]) -> Floats:
        """(n, regimes) at the last row of each window (n, steps, features), from the window alone.

        The forward recursion of a hidden Markov model (Hamilton 1989): the belief at a row moves on by the transition
        and is weighed with the density of the next row. Nothing after a row changes its belief.
        """
        density = self._densities(windows)
        belief = self.start * density[:, 0]
        belief /= belief.sum(axis=1, keepdims=True)
        for step in range(1, density.shape[1]):
            belief = np.einsum("ni,ij->nj", belief, self.transition) * density[:, step]
            belief /= belief.sum(axis=1, keepdims=True)
        return belief

    def _densities(self, features: NDArray[Any]) -> Floats:
        """(..., regimes) density of each row, relative to that of its likeliest regime."""
        z = np.einsum("...f,fc->...c", features - self.center, self.axes)
        white = np.einsum("...kc,kcd->...kd", z[..., None, :] - self.means, self.whitening)
        log_volume = np.log(np.diagonal(self.whitening, axis1=1, axis2=2)).sum(axis=1)
        log_density = log_volume - 0.5 * (white**2).sum(axis=-1)
        return np.asarray(np.exp(np.maximum(log_density - log_density.max(axis=-1, keepdims=True), -500)))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild."""
        return cls(**{name: np.array(value) for name, value in values.items()})


def fit_regimes(x: Floats, series: NDArray[np.int32], num_regimes: int, num_components: int, seed: int) -> Regimes:
    """The mixture of some rows, and how often one regime followed another in their order.

    Args:
        x: (n, features) that tell regimes apart.
        series: (n,) which series each row belongs to; series after series, dates rising.
        num_regimes: of the mixture.
        num_components: principal components that it sees, at most.
        seed: of its start.
    """
    from sklearn.mixture import GaussianMixture

    center = x.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]))
    axes = vectors[:, ::-1][:, :num_components]
    z = (x - center) @ axes
    # The floor keeps a component that hardly varies from deciding everything.
    mixture = GaussianMixture(num_regimes, reg_covar=1e-3, max_iter=500, random_state=seed).fit(z)
    belief = mixture.predict_proba(z)
    follows = series[1:] == series[:-1]
    # One step more than seen of each kind: none is impossible.
    steps = 1 + belief[:-1][follows].T @ belief[1:][follows]
    return Regimes(
        center=center,
        axes=axes,
        means=mixture.means_,
        whitening=mixture.precisions_cholesky_,
        start=mixture.weights_,
        transition=steps / steps.sum(axis=1, keepdims=True),
    )


def mixture_quantiles(values: Floats, weight: Floats, levels: Sequence[float]) -> Floats:
    """Quantiles of mixtures of distributions that are each given by equally likely values.

    Args:
        values: (n, parts, grid).
        weight: (n, parts), rows summing to 1.
        levels: in (0, 1), rising.

    Returns:
        (n, levels), interpolated between the middles of the values' weights.
    """
    flat = values.reshape(len(values), -1)
    order = np.argsort(flat, axis=1, kind="stable")
    mass = np.take_along_axis(np.repeat(weight / values.shape[2], values.shape[2], axis=1), order, axis=1)
    middle, flat = np.cumsum(mass, axis=1) - mass / 2, np.take_along_axis(flat, order, axis=1)
    rows = zip(middle, flat, strict=True)
    return np.array([np.interp(levels, at, found) for at, found in rows]).reshape(len(values), len(levels))
