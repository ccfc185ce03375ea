"""What forecasts lost, row by row, and what a search makes of it.

A row counts where its outcome, the family's forecast and naive's are known, and the losses are those of the gates: the
pinball loss at the levels that the family and naive share, or the squared error of a probability.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data.frame import DATE, SERIES
from raytrain.engines.base import Task
from raytrain.errors import ConfigError, FitError, did_you_mean
from raytrain.evaluation.scoring.pairs import MEDIAN, PROBABILITY, levels
from raytrain.metrics import Floats, pinball_losses
from raytrain.work.dataset import Dataset

METRICS: Mapping[Task, Mapping[str, str]] = {
    "regression": {"skill": "max", "pinball_loss": "min", "rmse": "min", "mae": "min"},
    "binary": {"skill": "max", "brier": "min", "log_loss": "min"},
}
"""What the folds report, and which way is better."""


def require_metric(name: str, task: Task) -> str:
    """`max` or `min`: which way the metric is better.

    Raises:
        ConfigError: no fold reports it.
    """
    if name not in METRICS[task]:
        raise ConfigError(
            f"tune.metric must be one that the folds of a {task} target report, got `{name}`; "
            f"{did_you_mean(name, METRICS[task])}"
        )
    return METRICS[task][name]


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of one target by the rows of a dataset; several seeds averaged."""

    rows: NDArray[np.int64]
    """(n,) of the dataset, rising."""
    columns: tuple[str, ...]
    """The quantiles by rising level, or `probability`."""
    values: Floats
    """(n, columns)."""

    @classmethod
    def read(cls, dataset: Dataset, target: str, tables: Sequence[pl.DataFrame]) -> "Forecasts":
        """Forecasts as fits have stored them."""
        rows = pl.concat(tables).filter(pl.col("target") == target).join(_places(dataset), on=[SERIES, DATE])
        columns = [PROBABILITY] if PROBABILITY in rows.columns else _quantiles(rows)
        means = rows.group_by("row").agg(pl.col(columns).cast(pl.Float64).mean()).sort("row")
        return cls(means["row"].to_numpy().astype(np.int64), tuple(columns), means.select(columns).to_numpy())

    def at(self, rows: NDArray[np.int64], columns: Sequence[str]) -> Floats:
        """(rows, columns) forecasts of rows that are among these."""
        chosen = self.values[np.searchsorted(self.rows, rows)]
        return np.asarray(chosen[:, [self.columns.index(name) for name in columns]], dtype=np.float64)


def _places(dataset: Dataset) -> pl.DataFrame:
    """series_id, date and row of every row of the dataset."""
    series = pl.Series(dataset.meta["series"], dtype=pl.String).gather(dataset.series)
    date = pl.Series(dataset.date).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
    return pl.DataFrame({SERIES: series, DATE: date}).with_row_index("row")


def _quantiles(table: pl.DataFrame) -> list[str]:
    named = [name for name in table.columns if name[0] == "q" and name[1:2].isdigit()]
    return sorted(named, key=lambda name: float(name[1:]))


@dataclass(frozen=True)
class Compared:
    """Losses of two forecasters on the rows that both forecast and whose outcome is known."""

    date: NDArray[np.int64]
    """(n,) nanoseconds since 1970."""
    actual: Floats
    """(n,)"""
    loss: Floats
    """(n,) of the first."""
    other_loss: Floats
    """(n,) of the second, at the same levels."""
    centre: Floats
    """(n,) the first's median, or its probability."""


def compare(dataset: Dataset, target: str, one: Forecasts, other: Forecasts, *, before: int | None = None) -> Compared:
    """Set two forecasters side by side.

    Args:
        dataset: whose rows they forecast.
        target: its name.
        one: the candidate.
        other: the yardstick, which has at least one column in common.
        before: only rows whose outcome was known before this date, in nanoseconds since 1970.

    Raises:
        FitError: no row is left.
    """
    rows = np.intersect1d(one.rows, other.rows)
    known = np.isfinite(dataset.y(target)[rows])
    if before is not None:
        known &= dataset.label_date(target)[rows] < before
    rows = rows[known]
    if not len(rows):
        raise FitError(f"{target} must have known outcomes to be judged by, got none; end the search folds earlier")
    shared = [name for name in one.columns if name in other.columns]
    actual = dataset.y(target)[rows].astype(np.float64)
    forecast, yardstick = one.at(rows, shared), other.at(rows, shared)
    centre = one.at(rows, [PROBABILITY if PROBABILITY in one.columns else MEDIAN])[:, 0]
    return Compared(
        date=dataset.date[rows],
        actual=actual,
        loss=_losses(actual, forecast, shared),
        other_loss=_losses(actual, yardstick, shared),
        centre=centre,
    )


def _losses(actual: Floats, forecast: Floats, columns: Sequence[str]) -> Floats:
    if list(columns) == [PROBABILITY]:
        return np.asarray((forecast[:, 0] - actual) ** 2, dtype=np.float64)
    return pinball_losses(actual, forecast, levels(columns))


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over the rows of some folds, of which every metric is made."""

    rows: int = 0
    loss: float = 0.0
    naive_loss: float = 0.0
    squared: float = 0.0
    absolute: float = 0.0
    surprise: float = 0.0
    """Sum of -log of the probability that was given to what happened."""
    metrics_of: Task = field(default="regression")

    def __add__(self, other: "Totals") -> "Totals":
        sums = {one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)[:-1]}
        return Totals(**sums, metrics_of=self.metrics_of)

    @classmethod
    def of(cls, compared: Compared, task: Task) -> "Totals":
        """The sums of one fold, against naive."""
        missed = compared.centre - compared.actual
        surprise = 0.0
        if task == "binary":
            chance = np.where(compared.actual == 1, compared.centre, 1 - compared.centre)
            surprise = float(-np.log(np.maximum(chance, np.finfo(np.float64).eps)).sum())
        return cls(
            rows=len(compared.actual),
            loss=float(compared.loss.sum()),
            naive_loss=float(compared.other_loss.sum()),
            squared=float((missed**2).sum()),
            absolute=float(np.abs(missed).sum()),
            surprise=surprise,
            metrics_of=task,
        )

    def metrics(self) -> dict[str, float]:
        """Every metric over these rows; NaN for the skill where naive loses nothing."""
        skill = 1 - self.loss / self.naive_loss if self.naive_loss > 0 else float("nan")
        if self.metrics_of == "binary":
            return {"skill": skill, "brier": self.loss / self.rows, "log_loss": self.surprise / self.rows}
        return {
            "skill": skill,
            "pinball_loss": self.loss / self.rows,
            "rmse": float(np.sqrt(self.squared / self.rows)),
            "mae": self.absolute / self.rows,
        }
