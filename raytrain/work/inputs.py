"""What a fit trains on and predicts, in the form that its family wants."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import Family, FitContext, FitData, Params, Samples, output_quantiles
from raytrain.engines.members import MemberFamily
from raytrain.errors import FitError
from raytrain.features.history import History
from raytrain.features.windows import Windows, ends_with_history
from raytrain.folds import test_rows
from raytrain.work.dataset import Dataset
from raytrain.work.members import MemberTable
from raytrain.work.preparation import Preparation, Rows, deviations_of, targets_of
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

PROBABILITY = "probability"
POSITION = "position"


def quantile_column(level: float) -> str:
    """The column that holds a quantile: `q0.1`."""
    return f"q{level:g}"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The rows a fit trains on and predicts, and how they are prepared."""

    dataset: Dataset
    spec: FitSpec
    family: type[Family[Any]]
    steps: int
    """Rows in a window; 1 for a family that sees one row at a time."""
    train: Rows
    """Those of them whose labels are."""
    test: Rows
    preparation: Preparation

    @classmethod
    def make(
        cls,
        family: type[Family[Any]],
        params: Params,
        dataset: Dataset,
        spec: FitSpec,
        among: NDArray[np.bool_] | None = None,
        *,
        preparation: Preparation | None = None,
    ) -> "Inputs":
        """Choose the rows, those of `among` if given; prepare as given, or with what the training rows tell.

        Raises:
            FitError: no row to train on or to predict.
        """
        steps = family.steps(params)
        whole = dataset.usable & ends_with_history(dataset.series, steps) & _usable_from(dataset, steps)
        if among is not None:
            whole &= among
        train = np.flatnonzero(whole & dataset.train_rows(spec.fold, *spec.target_names))
        test = np.flatnonzero(whole & test_rows(spec.fold, dataset.date))
        if len(train) == 0 or len(test) == 0:
            raise FitError(
                f"{spec.label}: a fit needs rows to train on and to predict, got {len(train)} and {len(test)} with "
                f"{steps} row(s) of look-back; lower the window, or start the folds later"
            )
        return cls(
            dataset=dataset,
            spec=spec,
            family=family,
            steps=steps,
            train=train,
            test=test,
            preparation=preparation or Preparation.learn(family, params, dataset, spec, train),
        )

    def samples(self, rows: Rows) -> Samples:
        """Model inputs for these rows; windows stay in the dataset until they are asked for."""
        preprocess = self.preparation.preprocess
        if self.family.inputs == "rows":
            chosen = self.dataset.x[rows]
            return chosen if preprocess is None else preprocess.apply_in_place(chosen)
        windows = Windows(self.dataset.x, rows, self.steps, preprocess)
        if self.family.inputs == "windows":
            return windows
        return History(windows, self.dataset.path(self.spec.targets[0].method), self.dataset.ahead)

    def training_data(self) -> FitData:
        """The training rows."""
        rows = self.train
        label_dates = [self.dataset.label_date(target) for target in self.spec.target_names]
        y = targets_of(self.dataset, self.spec, self.preparation.volatility, rows)
        scale = self.preparation.scale
        return FitData(
            x=self.samples(rows),
            y=np.asarray(y if scale is None else y / scale, dtype=np.float32),
            weight=self.dataset.weight[rows],
            date=self.dataset.date[rows],
            label_date=np.max([dates[rows] for dates in label_dates], axis=0),
            series=self.dataset.series[rows],
        )

    def unscale(self, values: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        """Predictions (n, outputs, levels) for these rows, in the targets' own unit."""
        scale, volatility = self.preparation.scale, self.preparation.volatility
        if scale is not None:
            values = values * scale[:, None]
        if volatility:
            values = values * deviations_of(self.dataset, self.spec, volatility, rows)[..., None]
        return values.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class MemberInputs:
    """The same for a family that mixes what others forecast."""

    dataset: Dataset
    spec: FitSpec
    table: MemberTable
    train: Rows
    """May be empty: nothing was forecast out of fold before the first fold."""
    test: Rows

    @classmethod
    def make(
        cls,
        family: type[MemberFamily[Any]],
        params: Any,
        dataset: Dataset,
        spec: FitSpec,
        *,
        store: ResultStore,
        among: NDArray[np.bool_] | None = None,
    ) -> "MemberInputs":
        """Read what the members forecast.

        Raises:
            FitError: no row to predict.
        """
        columns = forecast_columns(family, spec)
        table = MemberTable.read(spec, columns, family.regime_features(params), dataset, store)
        train, test = table.train_rows(spec, dataset, among), table.test_rows(spec, dataset, among)
        return cls(dataset=dataset, spec=spec, table=table, train=train, test=test)

    def samples(self, rows: Rows) -> Samples:
        """What the members forecast for these rows."""
        return self.table.samples(rows)

    def training_data(self) -> FitData | None:
        """The rows that weights are learned from; None when there are none."""
        rows, (target,) = self.train, self.spec.target_names
        if not len(rows):
            return None
        return FitData(
            x=self.samples(rows),
            y=self.dataset.y(target)[rows][:, None],
            weight=self.dataset.weight[rows],
            date=self.dataset.date[rows],
            label_date=self.dataset.label_date(target)[rows],
            series=self.dataset.series[rows],
        )

    def unscale(self, values: NDArray[np.float32], rows: Rows) -> NDArray[np.float32]:
        """Mixed forecasts are in the target's own unit already."""
        return values


def forecast_columns(family: type[Family[Any]], spec: FitSpec) -> list[str]:
    """The columns of stored forecasts: one per quantile, or the probability."""
    if spec.task == "binary":
        return [PROBABILITY]
    levels = output_quantiles(family, FitContext(task=spec.task, quantiles=spec.quantiles))
    return [quantile_column(level) for level in levels]


def _usable_from(dataset: Dataset, steps: int) -> NDArray[np.bool_]:
    """Rows whose whole window lies behind the warm-up."""
    if steps == 1:
        return dataset.usable
    first = np.zeros(len(dataset.usable), dtype=bool)
    if steps <= len(first):
        first[steps - 1 :] = dataset.usable[: len(first) - steps + 1]
    return first
