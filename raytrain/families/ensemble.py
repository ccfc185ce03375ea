"""The weighted mean of what other families forecast."""

from pathlib import Path
from typing import Self

import numpy as np

from raytrain.engines.base import FitContext, Needs, Shape
from raytrain.engines.files import read_params, write_params
from raytrain.engines.members import Floats, Lesson, MemberFamily, MemberParams, MemberSamples, equal_weights, mix


class EnsembleParams(MemberParams):
    """Parameters: the members and how far their weights may be learned."""


class Ensemble(MemberFamily[EnsembleParams]):
    """One weight per member, the same on every row: at least 0, sum 1, least loss out of fold.

    Equal weights are hard to beat (Bates & Granger 1969; Smith & Wallis 2009), so by default learned ones must prove
    themselves first, and the first fold, which has no forecasts to learn from, gets equal ones.
    """

    name = "ensemble"
    params_type = EnsembleParams
    packages = ("scipy",)

    _learned: list[float] | None = None
    """One weight per member; None for equal ones."""

    @classmethod
    def needs(cls, params: EnsembleParams, shape: Shape) -> Needs:
        # Measured with SciPy 1.17 from 1,000 to 100,000 rows, 3 to 10 members: most of it is loading the library.
        values = shape.rows * len(params.members) * shape.quantiles
        return Needs(memory_bytes=40 * 2**20 + 8 * values + 40 * shape.rows * shape.quantiles, work=0.2 + 4e-7 * values)

    def _learn(self, lesson: Lesson, context: FitContext) -> None:
        from scipy.optimize import minimize

        forecasts, equal = lesson.x.forecasts, equal_weights(lesson.x)[0]

        def loss_and_gradient(weights: Floats) -> tuple[float, Floats]:
            mixed = _mixed(lesson, weights)
            gradient = np.einsum("nl,nml->m", lesson.slope(mixed), forecasts, dtype=np.float64)
            return lesson.loss(mixed) / lesson.unit, gradient / lesson.unit

        found = minimize(
            loss_and_gradient,
            equal,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * len(equal),
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-9},
        )
        weights = np.clip(found.x, 0, None)
        self._learned = (weights / weights.sum()).tolist()

    def _forget(self) -> None:
        self._learned = None

    def _weights(self, x: MemberSamples) -> Floats:
        return equal_weights(x) if self._learned is None else np.broadcast_to(self._learned, x.shape[:2])

    def save(self, folder: Path) -> None:
        write_params(folder, self, {"weights": self._learned})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._learned = state["weights"]
        return model


def _mixed(lesson: Lesson, weights: Floats) -> Floats:
    return mix(lesson.x.forecasts, np.broadcast_to(weights, lesson.x.shape[:2]))
