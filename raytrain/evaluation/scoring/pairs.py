"""A family's forecasts beside the naive ones, on the rows where both and the outcome are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from raytrain.errors import DataError
from raytrain.features.targets import Method, ahead_to_price
from raytrain.metrics import Floats, pinball_losses

NAIVE = "naive"
"""The family that is the yardstick."""

MEDIAN = "q0.5"
PROBABILITY = "probability"
POSITION = "position"
TARGET = ["target", "kind", "label", "horizon", "method"]
ROW = ["series_id", "date"]
OUTCOME = ["actual", "close", "price_actual"]

JudgedBy = Literal["skill", "net_return", "net_change"]
"""What the gates ask about: the loss beside naive's, or what positions earn net of costs, as a share of the capital or,
for targets that are differences, in the unit of the price."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One family and one target, row by row beside naive."""

    family: str
    target: str
    kind: str
    label: str
    horizon: int
    method: Method
    """What the forecasts are of: log or simple return, or difference of the price."""
    rows: pl.DataFrame
    """One row per (series_id, date), ordered by date, then series: fold, outcome, the family's forecast columns and
    `price_forecast`, and naive's with the suffix `_naive`. Prices are null for a threshold."""
    forecasts: tuple[str, ...]
    """The family's forecast columns: its quantiles by rising level, or the probability."""
    shared: tuple[str, ...]
    """Those of them that naive has too: the two are compared on these. Empty when naive has none."""
    usable: bool
    """False when a forecast is NaN or infinite, or a probability lies outside 0 to 1: then nothing can be measured."""

    def column(self, name: str) -> Floats:
        """(n,) one column as float64."""
        return self.rows[name].cast(pl.Float64).to_numpy()

    def matrix(self, columns: Sequence[str], suffix: str = "") -> Floats:
        """(n, columns) forecasts of the family or, with the suffix `_naive`, of naive, as float64."""
        return self.rows.select(pl.col(name + suffix).cast(pl.Float64) for name in columns).to_numpy()

    def on(self, rows: pl.DataFrame) -> "Pair":
        """The same pair on some of its rows, in their order."""
        return replace(self, rows=rows)

    def losses(self, columns: Sequence[str], suffix: str = "") -> Floats:
        """(n,) the loss of the family's (or, with the suffix `_naive`, naive's) forecasts in these columns.

        The pinball loss averaged over the columns' levels; for a threshold target the squared error of the
        probability. Lower is better.
        """
        forecast = self.matrix(columns, suffix)
        if self.kind == "threshold":
            errors: Floats = (forecast[:, 0] - self.column("actual")) ** 2
            return errors
        return pinball_losses(self.column("actual"), forecast, levels(columns))

    def named(self, family: str) -> "Pair":
        """The same pair under another family's name."""
        return replace(self, family=family)

    @property
    def tradable(self) -> bool:
        """Whether a strategy can act on the forecasts."""
        return self.kind != "threshold" and not self.rows.is_empty() and self.usable

    @property
    def judged_by(self) -> JudgedBy:
        """A family that takes positions of its own is judged by what they earn, any other one by its losses."""
        if self.kind == "threshold" or POSITION not in self.rows.columns or self.rows[POSITION].count() == 0:
            return "skill"
        return "net_change" if self.method == "difference" else "net_return"

    def by_fold(self) -> "Iterator[tuple[str, Pair]]":
        """The folds in order of their first date."""
        for rows in self.rows.partition_by("fold", maintain_order=True):
            yield rows["fold"][0], self.on(rows)


def levels(columns: Sequence[str]) -> tuple[float, ...]:
    """The levels that quantile columns are named for: `q0.1` -> 0.1."""
    return tuple(float(name.removeprefix("q")) for name in columns)


def pair_with_naive(predictions: pl.DataFrame) -> list[Pair]:
    """Set every family beside naive, target by target, ordered by horizon, target and family.

    Seeds are combined first: the mean of their forecasts, row by row. A row counts when its outcome, all of the
    family's forecasts and naive's are known; so a family of which one fold failed is compared on the other folds, and
    the number of rows shows it.

    When naive is missing from the run, "no change" takes its place for returns and prices: a median of 0 and no other
    level, so quantile families are then compared at the level 0.5 only. A threshold target has no such stand-in.

    Args:
        predictions: the long table described in `raytrain.evaluation.scoring.scores`.

    Raises:
        DataError: there is no forecast of the median, or two folds forecast the same row.
    """
    combined = _combine_seeds(predictions)
    naive = combined.filter(family=NAIVE)
    parts = combined.sort("horizon", "target", "family").partition_by("target", "family", maintain_order=True)
    return [_pair(part, naive.filter(target=part["target"][0])) for part in parts]


def _combine_seeds(predictions: pl.DataFrame) -> pl.DataFrame:
    quantiles = _quantile_columns(predictions)
    if MEDIAN not in quantiles and (predictions["kind"] != "threshold").any():
        raise DataError(f"forecasts need the level 0.5, got {', '.join(quantiles) or 'none'}; add 0.5 to the quantiles")
    combined = predictions.group_by("family", *TARGET, "fold", *ROW).agg(
        pl.col(OUTCOME).first(), pl.col(*quantiles, PROBABILITY, *_positions(predictions)).cast(pl.Float64).mean()
    )
    twice = combined.filter(pl.struct("family", "target", *ROW).is_duplicated()).sort("family", "target", *ROW)
    if not twice.is_empty():
        row = twice.row(0, named=True)
        raise DataError(
            f"a row may be forecast in one fold only, got {row['series_id']} at {row['date']} in several folds of "
            f"{row['family']} for {row['target']}; let the test ranges of the folds not overlap"
        )
    return combined


def _positions(predictions: pl.DataFrame) -> list[str]:
    """The column of positions, where any family takes some."""
    return [POSITION] if POSITION in predictions.columns else []


def _pair(ours: pl.DataFrame, naive: pl.DataFrame) -> Pair:
    family, target, kind, label, horizon, method = ours.select("family", *TARGET).row(0)
    yardstick = _no_change(ours) if naive.is_empty() else naive
    forecasts = _given(ours, kind)
    shared = [name for name in forecasts if name in _given(yardstick, kind)]
    known = [PROBABILITY, "actual"] if kind == "threshold" else [MEDIAN, *OUTCOME]
    rows = (
        ours.drop_nulls([*known, *forecasts])
        .join(yardstick.select(*ROW, pl.col(shared).name.suffix("_naive")).drop_nulls(), on=ROW)
        .with_columns(
            price_forecast=_price(MEDIAN, forecasts, method),
            price_forecast_naive=_price(MEDIAN + "_naive", shared, method),
        )
        .sort("date", "series_id")
    )
    return Pair(
        family=family,
        target=target,
        kind=kind,
        label=label,
        horizon=horizon,
        method=method,
        rows=rows,
        forecasts=tuple(forecasts),
        shared=tuple(shared),
        usable=_usable(rows, kind, forecasts, shared),
    )


def _quantile_columns(table: pl.DataFrame) -> list[str]:
    """The columns named `q<level>`, by rising level."""
    return sorted(
        (name for name in table.columns if name[0] == "q" and name[1:2].isdigit()), key=lambda name: float(name[1:])
    )


def _given(rows: pl.DataFrame, kind: str) -> list[str]:
    """The forecast columns of this kind of target that hold anything."""
    columns = [PROBABILITY] if kind == "threshold" else _quantile_columns(rows)
    return [name for name in columns if rows[name].null_count() < len(rows)]


def _no_change(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows with a median return of 0 and no other forecast."""
    nothing = pl.lit(None, dtype=pl.Float64)
    quantiles = [nothing.alias(name) for name in _quantile_columns(rows) if name != MEDIAN]
    return rows.with_columns(*quantiles, nothing.alias(PROBABILITY), pl.lit(0.0).alias(MEDIAN))


def _price(median: str, available: Sequence[str], method: Method) -> pl.Expr:
    """The price that the median leads to; null where there is no median."""
    if MEDIAN not in available:
        return pl.lit(None, dtype=pl.Float64)
    return ahead_to_price(pl.col("close").cast(pl.Float64), pl.col(median), method)


def _usable(rows: pl.DataFrame, kind: str, forecasts: Sequence[str], shared: Sequence[str]) -> bool:
    columns = [*forecasts, *(name + "_naive" for name in shared)]
    if rows.is_empty():
        return True
    if kind == "threshold":
        sound = pl.col(columns).is_between(0, 1)
    else:
        columns += [POSITION] * (POSITION in rows.columns)
        sound = pl.col(*columns, "price_forecast", "price_forecast_naive").is_finite().fill_null(True)
    return bool(rows.select(pl.all_horizontal(sound).all()).item())
