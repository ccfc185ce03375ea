"""What GARCH and GJR share: parameters per series, and a forward distribution by filtered historical simulation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Needs, Samples, Shape
from raytrain.engines.files import read_params, write_params
from raytrain.engines.native import capped
from raytrain.engines.training import teaching_rows
from raytrain.engines.volatility_family import UnscaledParams
from raytrain.errors import FitError
from raytrain.features.history import History, PricePath
from raytrain.features.volatility import RISKMETRICS

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# The forward distribution depends on one number, the variance of the next row, so it is tabulated along that.
_NUM_VARIANCES = 33
# How far beyond the variances of the training rows the table reaches.
_MARGIN = 4.0


class GARCHFamilyParams(UnscaledParams):
    """How parameters are estimated and the future is drawn."""

    min_rows: int = Field(250, ge=100)
    """Changes of a series before its own parameters are estimated; one with fewer is filtered as RiskMetrics does."""
    num_paths: int = Field(5000, ge=10, le=1_000_000)
    """Futures that are drawn for each series and variance."""


G = TypeVar("G", bound=GARCHFamilyParams)


@dataclass(frozen=True)
class Recursion:
    """Next variance = omega + (alpha + gamma if it fell) * change^2 + beta * variance (Glosten et al. 1993)."""

    omega: float
    alpha: float
    gamma: float
    beta: float
    first: float
    """Variance before the first change."""

    def filtered(self, change: Floats) -> Floats:
        """(rows,) variance of the row after each, told by the changes of one series up to it, the known ones."""
        from scipy.signal import lfilter

        known = np.isfinite(change)
        news = self._news(change[known]) * change[known] ** 2 + self.omega
        path, _ = lfilter([1.0], [1.0, -self.beta], news, zi=[self.beta * self.first])
        # A price that stands still will move again.
        return np.asarray(np.maximum(np.append(path, self.first)[np.cumsum(known) - 1], 1e-12 * self.first))

    def ahead(self, variance: Floats, shock: Floats) -> tuple[Floats, Floats]:
        """The change that a standardised shock makes, and the variance after it."""
        growth = self._news(shock) * shock**2 + self.beta
        return np.asarray(np.sqrt(variance) * shock), np.asarray(self.omega + variance * growth)

    def _news(self, change: Floats) -> Floats:
        return np.where(change < 0, self.alpha + self.gamma, self.alpha)


@dataclass(frozen=True)
class Forward:
    """The distribution of what comes, for any variance of the next row."""

    recursion: Recursion
    variances: Floats
    """(v,) rising."""
    quantiles: Floats
    """(v, outputs, levels) in deviations of the next row."""

    def predict(self, change: Floats, rows: Rows) -> Floats:
        """(k, outputs, levels) quantiles of the changes ahead of some rows of one series."""
        variance = np.clip(self.recursion.filtered(change)[rows], self.variances[0], None)
        known, wanted = np.log(self.variances), np.log(variance)
        columns = self.quantiles.reshape(len(known), -1).T
        found = np.stack([np.interp(wanted, known, column) for column in columns], axis=-1)
        return np.asarray(found.reshape(-1, *self.quantiles.shape[1:]) * np.sqrt(variance)[:, None, None])

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        lists = {"variances": self.variances.tolist(), "quantiles": self.quantiles.tolist()}
        return {"recursion": asdict(self.recursion)} | lists

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a distribution."""
        arrays = np.array(values["variances"]), np.array(values["quantiles"])
        return cls(Recursion(**values["recursion"]), *arrays)


class GARCHFamily(Family[G]):
    """Filtered historical simulation (Barone-Adesi, Giannopoulos & Vosper 1999); a subclass says if falls count more.

    Parameters of each series are estimated by maximum likelihood with Student's t (the `arch` package, mean 0) on the
    changes that its training rows know, and stay fixed; the variance is filtered on through the rows to be predicted.
    Futures are drawn from the standardised changes that followed the training rows, as often as they weigh. A series
    that is too short, whose search does not converge, that training has not seen, or whose turn did not come before
    the fit was stopped is filtered as RiskMetrics does (decay 0.94) and draws from the standardised changes of all
    series.
    """

    engine = "native"
    lane = "cores"
    inputs = "history"
    gives_quantiles = True
    packages = ("arch", "scipy")
    asymmetric: ClassVar[bool]

    @classmethod
    def needs(cls, params: G, shape: Shape) -> Needs:
        # Measured with arch 8.0 at 4,000 to 100,000 rows, 5,000 and 100,000 paths of 20 steps, 1 to 40 series.
        return Needs(
            memory_bytes=10 * 2**20 + 100 * shape.rows + 1600 * params.num_paths,
            work=0.1 + 12e-6 * shape.rows + 10e-6 * params.num_paths,
        )

    def fit(self, data: FitData, context: FitContext) -> Self:
        rows, _ = teaching_rows(data, context, self.tasks, valid_share=0)
        history = cast(History, data.x)
        lessons = _lessons(history.path, history.ends[rows], data.weight[rows], max(context.horizons))
        draws = np.random.default_rng(context.seed).random((self.params.num_paths, max(context.horizons)))
        self._own: dict[int, Forward] = {}
        for done, (series, lesson) in enumerate(lessons.items()):
            if context.should_stop():
                break
            if recursion := estimate(lesson.read, self.params.min_rows, asymmetric=self.asymmetric):
                self._own[series] = forward(recursion, [lesson], draws, context)
            context.progress((done + 1) / (len(lessons) + 1))
        self._rest = forward(_risk_metrics(list(lessons.values())), list(lessons.values()), draws, context)
        context.progress(1.0)
        return self

    def predict(self, x: Samples) -> FloatArray:
        history = cast(History, x)
        values = np.empty((len(x), *self._rest.quantiles.shape[1:]), dtype=np.float32)
        for series, change, start in _by_series(history.path):
            chosen = np.flatnonzero(history.series == series)
            if len(chosen):
                distribution = self._own.get(series, self._rest)
                values[chosen] = distribution.predict(change, history.ends[chosen] - start)
        return values

    def save(self, folder: Path) -> None:
        own = [[series, distribution.to_json()] for series, distribution in self._own.items()]
        write_params(folder, self, {"own": own, "rest": self._rest.to_json()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._own = {series: Forward.from_json(values) for series, values in state["own"]}
        model._rest = Forward.from_json(state["rest"])
        return model


@dataclass(frozen=True)
class Lesson:
    """What the training rows tell of one series."""

    change: Floats
    """(rows,) of the whole series."""
    taught: Rows
    """(n,) training rows whose next change is known."""
    weight: Floats
    """(n,)."""
    read: Floats
    """Changes that the training rows know: their own and those of their labels. Where a stretch is left out, what
    follows it comes right after what was before."""

    def shocks(self, recursion: Recursion) -> tuple[Floats, Floats]:
        """(n,) variance of the row after each training row, and its change in deviations."""
        variance = recursion.filtered(self.change)[self.taught]
        return variance, self.change[self.taught + 1] / np.sqrt(variance)


def _by_series(path: PricePath) -> Iterator[tuple[int, Floats, int]]:
    """Each series: its number, its changes and the row that it starts on."""
    bounds = np.flatnonzero(np.diff(path.series, prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        yield int(path.series[start]), path.change[start:stop], start


def _lessons(path: PricePath, ends: Rows, weight: FloatArray, horizon: int) -> dict[int, Lesson]:
    """Series -> what the training rows, given as rows of the path, tell of it.

    Raises:
        FitError: no change after a training row is known.
    """
    lessons = {}
    for series, change, start in _by_series(path):
        mine = np.flatnonzero(path.series[ends] == series)
        own = ends[mine] - start
        followed = own + 1 < len(change)
        followed[followed] = np.isfinite(change[own[followed] + 1])
        if followed.any():
            read = change[_covered(own, horizon, len(change))]
            known = read[np.isfinite(read)]
            lessons[series] = Lesson(change, own[followed], weight[mine][followed].astype(np.float64), known)
    if not lessons:
        raise FitError("a volatility model needs changes after its training rows, got none; start the first fold later")
    return lessons


def _covered(rows: Rows, horizon: int, length: int) -> NDArray[np.bool_]:
    """(length,) the rows themselves and the `horizon` rows after each."""
    edges = np.zeros(length + horizon + 1, dtype=np.int64)
    np.add.at(edges, rows, 1)
    np.add.at(edges, rows + horizon + 1, -1)
    return np.asarray(edges.cumsum()[:length] > 0)


def estimate(change: Floats, min_rows: int, *, asymmetric: bool) -> Recursion | None:
    """Parameters by maximum likelihood; None for too few changes, none that moves, or a search that fails."""
    from arch.univariate import GARCH, StudentsT, ZeroMean

    if len(change) < min_rows:
        return None
    scale = float(np.sqrt(np.mean(change**2)))
    if scale <= 1e-12:
        return None
    model = ZeroMean(
        change / scale, volatility=GARCH(p=1, o=int(asymmetric), q=1), distribution=StudentsT(), rescale=False
    )
    # With more threads linear algebra rounds otherwise, and the search ends elsewhere.
    with capped(1):
        found = model.fit(disp="off", show_warning=False)
    if found.convergence_flag != 0:
        return None
    # Rounded, so that the last bits of an optimiser do not make another machine forecast differently.
    values = {name.removesuffix("[1]"): float(f"{value:.6g}") for name, value in found.params.items()}
    return Recursion(
        values["omega"] * scale**2, values["alpha"], values.get("gamma", 0.0), values["beta"], first=scale**2
    )


def _risk_metrics(lessons: Sequence[Lesson]) -> Recursion:
    squares = np.concatenate([lesson.change[lesson.taught + 1] ** 2 for lesson in lessons])
    return Recursion(0.0, 1 - RISKMETRICS, 0.0, RISKMETRICS, first=float(squares.mean()) or 1.0)


def forward(recursion: Recursion, lessons: Sequence[Lesson], draws: Floats, context: FitContext) -> Forward:
    """Draw futures from the shocks of the lessons.

    Args:
        recursion: how the variance goes on.
        lessons: where shocks are taken from, each as often as it weighs.
        draws: (paths, steps) in [0, 1): which shock comes.
        context: horizons and levels.
    """
    variance, shock = (np.concatenate(parts) for parts in zip(*(one.shocks(recursion) for one in lessons), strict=True))
    reach = np.cumsum(np.concatenate([lesson.weight for lesson in lessons]))
    drawn = shock[np.searchsorted(reach, draws * reach[-1], side="right")]
    variances = np.geomspace(variance.min() / _MARGIN, variance.max() * _MARGIN, _NUM_VARIANCES)
    now = np.repeat(variances[:, None], len(drawn), axis=1)
    total = np.zeros_like(now)
    found = {}
    for step in range(1, max(context.horizons) + 1):
        change, now = recursion.ahead(now, drawn[:, step - 1])
        total += change
        if step in context.horizons:
            found[step] = np.quantile(total, context.quantiles, axis=1).T / np.sqrt(variances)[:, None]
    return Forward(recursion, variances, np.stack([found[horizon] for horizon in context.horizons], axis=1))
