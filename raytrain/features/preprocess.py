"""Impute and scale: fitted on a fold's training rows, frozen, applied in one pass."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Preprocess:
    """Fill unknowns with the median, scale to mean 0 and deviation 1, clip to `clip` deviations.

    A column without a known training value, or constant in training, becomes 0.
    """

    fill: FloatArray
    """(features,) the training median."""
    mean: FloatArray
    scale: FloatArray
    """(features,) 1 / training deviation; 0 for a column that says nothing."""
    clip: float = 10.0

    @classmethod
    def fit(cls, x: FloatArray) -> Self:
        """Learn from training rows (n, features)."""
        known = ~np.isnan(x).all(axis=0)
        fill = np.zeros(x.shape[1], dtype=np.float64)
        fill[known] = np.nanmedian(x[:, known], axis=0)
        filled = np.where(np.isnan(x), fill, x).astype(np.float64)
        mean, deviation = filled.mean(axis=0), filled.std(axis=0)
        # A relative bound: float32 noise on a large constant is not information.
        informative = known & (deviation > 1e-6 * np.maximum(1e-6, np.abs(mean)))
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=informative)
        return cls(fill.astype(np.float32), mean.astype(np.float32), scale.astype(np.float32))

    def apply(self, x: FloatArray) -> FloatArray:
        """Transform (n, features); the result is a new contiguous float32 array without NaN."""
        filled = np.where(np.isnan(x), self.fill, x)
        filled -= self.mean
        filled *= self.scale
        return np.clip(filled, -self.clip, self.clip, out=filled)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        return {
            "fill": [float(value) for value in self.fill],
            "mean": [float(value) for value in self.mean],
            "scale": [float(value) for value in self.scale],
            "clip": self.clip,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild a frozen transform."""
        fill, mean, scale = (np.asarray(values[name], dtype=np.float32) for name in ("fill", "mean", "scale"))
        return cls(fill, mean, scale, clip=float(values["clip"]))
