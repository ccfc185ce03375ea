"""What the members of an ensemble forecast out of fold: which fits it waits for, and their results row for row.

The test block of a walk-forward fold is forecast by a model that has not seen it. An ensemble learns from the blocks of
the folds before its own, as far as their labels were known at its own cut-off, and mixes what its members forecast for
its own block. So it never sees a forecast of a row that the forecaster was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain import families
from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import FitContext, FloatArray, Task, output_quantiles
from raytrain.engines.members import MemberSamples
from raytrain.errors import ConfigError, FitError, did_you_mean
from raytrain.folds import Fold, test_rows
from raytrain.work.dataset import Dataset
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore


class Place(NamedTuple):
    """Where a fit stands in a run."""

    family: str
    target: str
    fold: str
    seed: int

    @classmethod
    def all_of(cls, spec: FitSpec) -> "list[Place]":
        """The places of a fit: one for each target that it forecasts."""
        return [cls(spec.family, target, spec.fold.name, spec.seed) for target in spec.target_names]


def require_members(
    ensemble: str, members: Sequence[str], asked: Sequence[str], task: Task, quantiles: tuple[float, ...]
) -> None:
    """Refuse members that cannot be mixed, before any work is done.

    Args:
        ensemble: the family that mixes, for the message.
        members: what it mixes under `task`.
        asked: the families of the run.
        task: of the target.
        quantiles: the levels of the run.

    Raises:
        ConfigError: a member twice, an unknown family, one that is not fitted in this run, another ensemble, or one
            that gives no forecast of this form.
    """
    if twice := {name for name in members if list(members).count(name) > 1}:
        raise ConfigError(f"{ensemble} may mix each family once, got {', '.join(sorted(twice))} twice")
    for name in members:
        family = families.get(name)
        if family.inputs == "members":
            raise ConfigError(f"{ensemble} mixes families that read data, got {name}, an ensemble; name its members")
        if name not in asked:
            raise ConfigError(
                f"{ensemble} mixes families of the same run, got {name}, which is not fitted; add it to `families` or "
                f"name other members in params.{ensemble}"
            )
        if task not in family.tasks:
            raise ConfigError(f"{ensemble} needs members with a {task} form, got {name}; name others")
        if task == "regression" and output_quantiles(family, FitContext(quantiles=quantiles)) != quantiles:
            raise ConfigError(
                f"{ensemble} mixes the quantiles {', '.join(f'{level:g}' for level in quantiles)}, got {name}, which "
                "gives the median only; name quantile families, or ask for `quantiles: [0.5]`"
            )


def members_of(
    members: Sequence[str],
    target: str,
    fold: Fold,
    seed: int,
    *,
    folds: Sequence[Fold],
    planned: Mapping[Place, FitSpec],
) -> tuple[str, ...]:
    """Keys of the fits that an ensemble of one target, fold and seed reads.

    Those of its members on the folds that were tested before its own, and on its own: oldest fold first, in each the
    members in their order. On the first fold there are none before.

    Args:
        members: families, as the ensemble mixes them.
        target: its name.
        fold: the ensemble's own, of the walk-forward or `latest`.
        seed: of the ensemble and of every fit it reads.
        folds: the walk-forward.
        planned: every fit that the ensemble may wait for, finished ones too.

    Raises:
        ConfigError: a fit that it would wait for is not planned.
    """
    before = sorted((one for one in folds if one.test_start < fold.test_start), key=lambda one: one.test_start)
    places = [Place(name, target, one.name, seed) for one in (*before, fold) for name in members]
    for place in places:
        if place not in planned:
            raise ConfigError(
                f"an ensemble of {target} on fold {fold.name} waits for {place.family} on fold {place.fold} with seed "
                f"{seed}, which is not planned; add {place.family} to `families` for this target"
            )
    return tuple(planned[place].key for place in places)


def columns_of(dataset: Dataset, patterns: Sequence[str]) -> list[int]:
    """Feature columns whose names match any of the patterns (`*_vol_*`), in the order of the table.

    Raises:
        ConfigError: there are patterns, and none of them matches.
    """
    names = dataset.meta["features"]
    found = [place for place, name in enumerate(names) if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if patterns and not found:
        raise ConfigError(
            f"regime_features must match names of features, got {', '.join(patterns)}; name others, or none at all. "
            f"{did_you_mean(patterns[0], names)}"
        )
    return found


@dataclass(frozen=True)
class MemberTable:
    """Row for row beside the dataset."""

    forecasts: FloatArray
    """(rows, members, levels) out of fold; NaN where a member forecast nothing."""
    features: FloatArray
    """(rows, regime features), NaN where unknown; a categorical one is a 0/1 flag per category."""

    @classmethod
    def read(
        cls,
        spec: FitSpec,
        columns: Sequence[str],
        patterns: Sequence[str],
        dataset: Dataset,
        store: ResultStore,
    ) -> "MemberTable":
        """What the ensemble fit `spec` may see.

        Args:
            spec: with the keys of all fits that it reads.
            columns: of the stored predictions: one per level, or the probability.
            patterns: names of regime features.
            dataset: whose rows are filled.
            store: that holds the results; they are finished.
        """
        return cls(_forecasts(spec, columns, dataset, store), _regimes(spec.fold, patterns, dataset))

    @property
    def known(self) -> NDArray[np.bool_]:
        """(rows,) True where every member has a forecast."""
        return np.asarray(np.isfinite(self.forecasts).all(axis=(1, 2)))

    def train_rows(self, spec: FitSpec, dataset: Dataset, among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows, `among` these if given, that the weights may be learned from.

        Returns:
            Indices; none when the labels are all equal, which teaches nothing about weights.
        """
        chosen = self.known & dataset.train_rows(spec.fold, spec.target)
        rows = np.flatnonzero(chosen if among is None else chosen & among)
        y = dataset.y(spec.target)[rows]
        return rows if len(rows) and (y != y[0]).any() else rows[:0]

    def test_rows(self, spec: FitSpec, dataset: Dataset, among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Rows, `among` these if given, that every member has forecast for the fold's own block.

        Raises:
            FitError: there is none.
        """
        chosen = self.known & test_rows(spec.fold, dataset.date)
        rows = np.flatnonzero(chosen if among is None else chosen & among)
        if not len(rows):
            raise FitError(
                f"{spec.label}: an ensemble needs rows that all its members forecast, got none in its test block; "
                "lower the members' windows, or leave the one with the longest out"
            )
        return rows

    def samples(self, rows: NDArray[np.int64]) -> MemberSamples:
        """The chosen rows as a family sees them."""
        return MemberSamples(self.forecasts[rows], self.features[rows])


def _forecasts(spec: FitSpec, columns: Sequence[str], dataset: Dataset, store: ResultStore) -> FloatArray:
    read = [FitSpec.from_dict(store.result(key)["spec"]) for key in spec.members]
    names = list(dict.fromkeys(one.family for one in read))
    places, own = _places(dataset), test_rows(spec.fold, dataset.date)
    values = np.full((len(dataset.date), len(names), len(columns)), np.nan, dtype=np.float32)
    # Where the own block overlaps an earlier one (`latest` lies in the newest), the own fits are the ones that count.
    for is_own in (False, True):
        values[own] = np.nan
        for one in read:
            if (one.fold == spec.fold) is is_own:
                predictions = store.predictions(one.key).filter(pl.col("target") == spec.target)
                found = predictions.join(places, on=[SERIES, DATE], how="left", maintain_order="left")
                if found["row"].null_count():
                    raise FitError(f"{one.label} must have forecast rows of the data, got others; fit it again")
                values[found["row"].to_numpy(), names.index(one.family)] = found.select(columns).to_numpy()
    return values


def _places(dataset: Dataset) -> pl.DataFrame:
    """series_id, date and row of every row of the dataset."""
    series = pl.Series(dataset.meta["series"], dtype=pl.String).gather(dataset.series)
    date = pl.Series(dataset.date).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
    return pl.DataFrame({SERIES: series, DATE: date}).with_row_index("row")


def _regimes(fold: Fold, patterns: Sequence[str], dataset: Dataset) -> FloatArray:
    parts = [np.empty((len(dataset.date), 0), dtype=np.float32)]
    seen = dataset.date < fold.test_end
    for column in columns_of(dataset, patterns):
        values = dataset.x[:, column]
        if column in dataset.categorical:
            # Codes count from 1 as categories appear: a flag for each, but for none that appears after the test block.
            parts.append(values[:, None] == np.arange(1, 1 + values[seen].max(initial=0)))
        else:
            parts.append(values[:, None])
    return np.hstack(parts, dtype=np.float32)
