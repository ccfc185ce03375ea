"""What the same season brought: a yardstick that knows the calendar and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.engines.base import Family, FitContext, FitData, FloatArray, Needs, Params, Samples, Shape
from raytrain.engines.files import read_params, write_params
from raytrain.engines.linear import weighted_quantiles
from raytrain.engines.training import teaching_rows
from raytrain.errors import FitError, did_you_mean

Season = tuple[float, ...]


class SeasonalNaiveParams(Params):
    """What a season is; as a yardstick the family does not scale unless asked."""

    season: tuple[Annotated[str, Field(min_length=1)], ...] = Field(("moy",), min_length=1)
    """Features whose values together name the season: `moy` is the month, `week` the week of the year, `dow` and `hour`
    the hour of the week; the step `calendar` makes them."""
    min_rows: int = Field(60, ge=1)
    """A season with fewer training rows than this is given the quantiles of all rows."""


class SeasonalNaive(Family[SeasonalNaiveParams]):
    """Weighted empirical quantiles of the training targets of the row's season; base rates for a binary target."""

    name = "seasonal_naive"
    engine = "native"
    lane = "cores"
    params_type = SeasonalNaiveParams
    gives_quantiles = True
    tasks = frozenset({"regression", "binary"})

    @classmethod
    def needs(cls, params: SeasonalNaiveParams, shape: Shape) -> Needs:
        return Needs(memory_bytes=5 * 2**20 + shape.table_bytes, work=0.001 + 1e-6 * shape.rows)

    def fit(self, data: FitData, context: FitContext) -> Self:
        rows, _ = teaching_rows(data, context, self.tasks, valid_share=0)
        self._columns = [_column(name, context.features) for name in self.params.season]
        y, weight = data.y[rows], data.weight[rows]
        self._always = _distribution(y, weight, context)
        self._seasons: dict[Season, FloatArray] = {}
        for season, members in _by_season(data.x[rows][:, self._columns]):
            if len(members) >= self.params.min_rows:
                self._seasons[season] = _distribution(y[members], weight[members], context)
        context.progress(1.0)
        return self

    def predict(self, x: Samples) -> FloatArray:
        values = np.repeat(self._always[None], len(x), axis=0)
        for season, members in _by_season(x[:][:, self._columns]):
            values[members] = self._seasons.get(season, self._always)
        return values

    def save(self, folder: Path) -> None:
        seasons = [[season, values.tolist()] for season, values in self._seasons.items()]
        write_params(folder, self, {"columns": self._columns, "always": self._always.tolist(), "seasons": seasons})

    @classmethod
    def load(cls, folder: Path) -> Self:
        model, state = read_params(folder, cls)
        model._columns, model._always = state["columns"], np.array(state["always"], dtype=np.float32)
        model._seasons = {tuple(season): np.array(values, dtype=np.float32) for season, values in state["seasons"]}
        return model


def _column(name: str, features: tuple[str, ...]) -> int:
    if name not in features:
        raise FitError(
            f"`season` must name features of the run, got `{name}`; {did_you_mean(name, features)} The step `calendar` "
            "makes the parts of the date"
        )
    return features.index(name)


def _by_season(values: FloatArray) -> Iterator[tuple[Season, NDArray[np.intp]]]:
    """Each season of (n, columns) with its rows; rows on which it is unknown are in none."""
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    seasons, place = np.unique(values[known], axis=0, return_inverse=True)
    order, counts = np.argsort(place.ravel(), kind="stable"), np.bincount(place.ravel(), minlength=len(seasons))
    for season, members in zip(seasons, np.split(known[order], np.cumsum(counts)[:-1]), strict=True):
        yield tuple(season.tolist()), members


def _distribution(y: FloatArray, weight: FloatArray, context: FitContext) -> FloatArray:
    """(outputs, levels) weighted quantiles, or (outputs, 1) base rates."""
    if context.task == "binary":
        return np.average(y, axis=0, weights=weight)[:, None].astype(np.float32)
    levels = [weighted_quantiles(one.astype(np.float64), weight, context.quantiles) for one in y.T]
    return np.stack(levels).astype(np.float32)
