"""Penalised linear models: solved along a path of penalties, with the empirical distribution around them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import FitContext, FitData, FloatArray, Needs, Shape
from raytrain.engines.native import Rounds, table
from raytrain.engines.training import TeachingRows, log_loss, relative_weights

Floats = NDArray[np.float64]

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""From next to no slope to next to no penalty, for columns of deviation 1."""


@dataclass(frozen=True)
class Line:
    """intercept + x @ slope."""

    intercept: float
    slope: Floats
    """(features,)."""

    def score(self, x: NDArray[Any]) -> Floats:
        """(n,) in the unit of the target; log odds for a logistic model."""
        # einsum, because the result of a BLAS product depends on the number of threads.
        return np.asarray(self.intercept + np.einsum("nf,f->n", x, self.slope))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        return {"intercept": self.intercept, "slope": self.slope.tolist()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild a line."""
        return cls(values["intercept"], np.array(values["slope"]))


@dataclass(frozen=True)
class Indicators:
    """Columns of codes replaced by one column of 0 and 1 for each code: a line through codes would mean nothing."""

    codes: tuple[tuple[int, tuple[float, ...]], ...]
    """Column -> the codes of the training rows; any other code gets 0 in all of its columns."""

    @classmethod
    def fit(cls, data: FitData, columns: Sequence[int]) -> Self:
        """Learn the codes of the rows that count."""
        counts, x = data.weight > 0, data.x[:]
        return cls(tuple((column, tuple(np.unique(x[counts, column]).tolist())) for column in columns))

    @classmethod
    def from_json(cls, codes: Sequence[tuple[int, Sequence[float]]]) -> Self:
        """Rebuild from `codes` as JSON keeps them."""
        return cls(tuple((column, tuple(known)) for column, known in codes))

    def apply(self, x: FloatArray) -> FloatArray:
        """(n, other columns and indicators); `x` itself when there are no codes."""
        if not self.codes:
            return x
        others = np.delete(x, [column for column, _ in self.codes], axis=1)
        return np.concatenate(
            [others, *((x[:, [column]] == known) for column, known in self.codes)], axis=1, dtype=x.dtype
        )


class RidgePath:
    """Ridge regressions of one table for any number of penalties, from one eigendecomposition (Hoerl & Kennard 1970).

    Minimises mean(w * (y - intercept - x @ slope)**2) + penalty * |slope|**2. The intercept bears no penalty.

    Args:
        x: (n, features).
        y: (n,).
        weight: (n,) or None for equal ones.
    """

    def __init__(self, x: FloatArray, y: Floats, weight: FloatArray | None) -> None:
        share = np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum(dtype=np.float64)
        root = np.sqrt(share)
        self._center = np.einsum("n,nf->f", share, x)
        self._level = float(share @ y)
        weighted = x - self._center
        weighted *= root[:, None]
        values, self._vectors = np.linalg.eigh(weighted.T @ weighted)
        # Rounding may leave a tiny negative eigenvalue where columns repeat each other.
        self._values = np.maximum(values, 0)
        self._projection = self._vectors.T @ (weighted.T @ (root * (y - self._level)))

    def __call__(self, penalty: float) -> Line:
        """The line of one penalty, above 0."""
        slope = self._vectors @ (self._projection / (self._values + penalty))
        return Line(self._level - float(self._center @ slope), slope)


def logistic_path(x: FloatArray, y: Floats, weight: FloatArray | None) -> Callable[[float], Line]:
    """Logistic regressions for any number of penalties, each started from the one before.

    Minimises mean(w * log loss) + penalty / 2 * |slope|**2.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(warm_start=True, max_iter=10_000)
    x = x.astype(np.float64)

    def solve(penalty: float) -> Line:
        model.set_params(C=1 / (penalty * len(x))).fit(x, y, sample_weight=weight)
        return Line(float(model.intercept_[0]), model.coef_[0].copy())

    return solve


@dataclass(frozen=True)
class LinearForecast:
    """A line and, around it, the quantiles of what it misses; a probability under a binary target."""

    line: Line
    around: tuple[float, ...] | None
    """Quantiles of the residuals, one per level; None for a logistic line."""
    indicators: Indicators

    def predict(self, x: FloatArray) -> Floats:
        """(n, levels), rising; (n, 1) probabilities."""
        score = self.line.score(self.indicators.apply(x))[:, None]
        return probability(score) if self.around is None else score + np.array(self.around)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        return {"line": self.line.to_json(), "around": self.around, "codes": self.indicators.codes}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild a forecast."""
        around = None if values["around"] is None else tuple(values["around"])
        return cls(Line.from_json(values["line"]), around, Indicators.from_json(values["codes"]))


def fit_linear(data: FitData, parts: TeachingRows, context: FitContext, penalties: Sequence[float]) -> LinearForecast:
    """Choose the penalty on the rows kept aside, then learn from all rows.

    The quantiles are those of the residuals of the rows kept aside, under a line that has not seen them: a line that is
    fitted to a row is nearer to it than it will be to the next one.

    Args:
        data: inputs without NaN, in deviations; one target.
        parts: rows to learn from and rows to keep aside, neither empty.
        penalties: tried from the largest down; asked to stop, the best so far is taken.
    """
    rows = np.flatnonzero(data.weight > 0)
    indicators = Indicators.fit(data, context.categorical)
    data = replace(data, x=indicators.apply(data.x[:]))
    path = logistic_path if context.task == "binary" else RidgePath
    x_aside, y_aside = table(data, parts.tail)
    solve, rounds = path(*_problem(data, parts.head)), Rounds(len(penalties), len(penalties), context)
    tried: list[tuple[float, Floats]] = []
    for penalty in sorted(penalties, reverse=True):
        tried.append((penalty, solve(penalty).score(x_aside)))
        loss = _losses(y_aside, tried[-1][1], context)
        if rounds.stop_after(float(np.average(loss, weights=data.weight[parts.tail]))):
            break
    penalty, score = tried[rounds.best - 1]
    around = None
    if context.task == "regression":
        around = tuple(weighted_quantiles(y_aside - score, data.weight[parts.tail], context.quantiles).tolist())
    return LinearForecast(path(*_problem(data, rows))(penalty), around, indicators)


def probability(score: Floats) -> Floats:
    """Of a label, from its log odds; any size of them is safe."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * score))


def _problem(data: FitData, rows: NDArray[np.intp]) -> tuple[FloatArray, Floats, FloatArray | None]:
    return *table(data, rows), relative_weights(data, rows)


def _losses(y: Floats, score: Floats, context: FitContext) -> Floats:
    return log_loss(y, probability(score)) if context.task == "binary" else (y - score) ** 2


def weighted_quantiles(values: Floats, weight: FloatArray, levels: Sequence[float]) -> Floats:
    """(levels,) quantiles of weighted values, interpolated between the middles of their weights.

    With equal weights, Hazen's quantiles: `np.quantile(..., method="hazen")`.
    """
    order = np.argsort(values, kind="stable")
    steps = weight[order].astype(np.float64)
    return np.interp(levels, (np.cumsum(steps) - steps / 2) / steps.sum(), values[order])


def linear_needs(shape: Shape, num_penalties: int) -> Needs:
    """Measured from 4,000 x 50 to 60,000 x 150 values: the peak is a copy of the table in double precision or two."""
    values = shape.rows * shape.features
    return Needs(
        memory_bytes=int(10 * 2**20 + 5 * shape.table_bytes),
        work=0.005 + values * (1e-9 * num_penalties + 2e-10 * shape.features),
    )
