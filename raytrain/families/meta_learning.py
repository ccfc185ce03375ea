"""Weights that move with the regime."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from raytrain.engines.base import FitContext, FloatArray, Needs, Range, Shape, Space
from raytrain.engines.files import read_params, write_params
from raytrain.engines.members import Floats, Lesson, MemberFamily, MemberParams, MemberSamples, equal_weights, mix
from raytrain.features.preprocess import Preprocess, PreprocessConfig

# Few rows are extreme, and none of them should turn the weights around.
_SCALING = PreprocessConfig(clip=3.0)

# What a squared constant of the gate costs: enough to keep the weight of a useless member away from infinity.
_CONSTANT_PENALTY = 1e-3


class MetaLearningParams(MemberParams):
    """Parameters: the members, what tells the regime, and how far weights may move."""

    regime_features: tuple[str, ...] = ("*_vol_*", "*_garch*", "*vix*", "*regime*")
    """Patterns of the names of features that the weights may depend on; none leaves the forecasts themselves."""
    penalty: float = Field(0.1, gt=0)
    """Pull towards weights that do not move: what a squared coefficient costs, in units of the equal mixture's loss."""
    num_iterations: int = Field(200, ge=1, le=10_000)
    """Steps of the conjugate gradient, at most."""


class MetaLearning(MemberFamily[MetaLearningParams]):
    """Stacked generalisation (Wolpert 1992): a gate gives each row its weights, at least 0 and with sum 1.

    The gate is a softmax of a linear function (Jacobs et al. 1991) of the members' mean forecast and their disagreement
    at each level, and of the regime features. Its coefficients are penalised, so that what teaches nothing moves no
    weight; mixing instead of regressing keeps every forecast between those of the members.
    """

    name = "meta_learning"
    params_type = MetaLearningParams
    packages = ("scipy",)

    _gate: Floats | None = None
    """(1 + inputs, members); None for equal weights."""
    _preprocess: Preprocess | None = None
    """Of the gate's inputs; None for equal weights."""

    @classmethod
    def needs(cls, params: MetaLearningParams, shape: Shape) -> Needs:
        # Measured with SciPy 1.17 from 1,000 to 100,000 rows, 3 to 10 members, up to 38 inputs of the gate.
        members = len(params.members)
        inputs = 2 * shape.quantiles + min(20, shape.features)
        row_bytes = 8 * members * shape.quantiles + 32 * members + 40 * shape.quantiles + 16 * inputs
        step_s = 1.5e-8 * shape.rows * members * (shape.quantiles + inputs)
        return Needs(
            memory_bytes=40 * 2**20 + shape.rows * row_bytes, work=0.2 + min(20, params.num_iterations) * step_s
        )

    @classmethod
    def space(cls) -> Space:
        return {"penalty": Range(1e-3, 1.0, log=True)}

    @classmethod
    def regime_features(cls, params: MetaLearningParams) -> tuple[str, ...]:
        return params.regime_features

    def _learn(self, lesson: Lesson, context: FitContext) -> None:
        from scipy.optimize import OptimizeResult, minimize

        inputs = _inputs(lesson.x)
        self._preprocess = Preprocess.fit(inputs, config=_SCALING)
        objective = _Objective(lesson, _with_constant(self._preprocess.apply(inputs)), self.params.penalty)
        steps = 0

        def after_step(intermediate_result: OptimizeResult) -> None:
            nonlocal steps
            steps += 1
            context.progress(steps / self.params.num_iterations)
            if context.should_stop():
                raise StopIteration

        found = minimize(
            objective,
            np.zeros(objective.shape).ravel(),
            jac=True,
            # L-BFGS would call LAPACK, whose threads cannot be capped from here.
            method="CG",
            callback=after_step,
            options={"maxiter": self.params.num_iterations, "gtol": 1e-4},
        )
        self._gate = found.x.reshape(objective.shape)

    def _forget(self) -> None:
        self._gate = self._preprocess = None

    def _weights(self, x: MemberSamples) -> Floats:
        if self._gate is None or self._preprocess is None:
            return equal_weights(x)
        return _softmax(_with_constant(self._preprocess.apply(_inputs(x))), self._gate)

    def save(self, folder: Path) -> None:
        gate = None if self._gate is None else self._gate.tolist()
        preprocess = None if self._preprocess is None else self._preprocess.to_json()
        write_params(folder, self, {"gate": gate, "preprocess": preprocess})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        if state["gate"] is not None:
            model._gate, model._preprocess = np.array(state["gate"]), Preprocess.from_json(state["preprocess"])
        return model


@dataclass(frozen=True)
class _Objective:
    """The loss of a gate on a lesson, in units of the equal mixture's, with its penalty."""

    lesson: Lesson
    table: Floats
    """(n, 1 + inputs)."""
    penalty: float

    @property
    def shape(self) -> tuple[int, int]:
        """(1 + inputs, members)."""
        return self.table.shape[1], self.lesson.x.shape[1]

    def __call__(self, flat: Floats) -> tuple[float, Floats]:
        """The value at a gate and its gradient, both flat."""
        gate, lesson = flat.reshape(self.shape), self.lesson
        weights = _softmax(self.table, gate)
        mixed = mix(lesson.x.forecasts, weights)
        pull = np.einsum("nl,nml->nm", lesson.slope(mixed), lesson.x.forecasts, dtype=np.float64)
        pull = weights * (pull - (weights * pull).sum(axis=1, keepdims=True))
        cost = np.full((len(gate), 1), self.penalty)
        cost[0] = _CONSTANT_PENALTY
        loss = lesson.loss(mixed) / lesson.unit + float((cost * gate**2).sum())
        gradient = np.einsum("nk,nm->km", self.table, pull) / lesson.unit + 2 * cost * gate
        return loss, gradient.ravel()


def _inputs(x: MemberSamples) -> FloatArray:
    """(n, 2 x levels + features): the members' mean, their deviation, and what tells the regime."""
    return np.hstack([x.forecasts.mean(axis=1), x.forecasts.std(axis=1), x.features])


def _with_constant(table: FloatArray) -> Floats:
    return np.hstack([np.ones((len(table), 1)), table])


def _softmax(table: Floats, gate: Floats) -> Floats:
    """(n, members) weights of at least 0 with sum 1."""
    logits = np.einsum("nk,km->nm", table, gate)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
