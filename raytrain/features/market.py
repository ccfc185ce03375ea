"""From a frame to what lies beside its features: the path of prices, and what is known of the rows to come."""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.features.build import FeaturesConfig, FeatureTable, build, known_part
from raytrain.features.history import Ahead, PricePath
from raytrain.features.targets import Method

_RECENT_ROWS = 400


def price_path(frame: Frame, method: Method) -> PricePath:
    """The path of each series' price, in the unit of targets made by `method`."""
    price = pl.col(frame.price)
    between = _change(pl.col(frame.low), pl.col(frame.high), method) if frame.low else pl.lit(float("nan"))
    index = pl.col(frame.volatility_index) if frame.volatility_index else pl.lit(float("nan"))
    share = index / 100 / sqrt(frame.periods_per_year)
    columns = frame.table.select(
        change=_change(price.shift(1).over(SERIES), price, method),
        range=between,
        implied=share * price if method == "difference" else share,
    ).select(pl.all().cast(pl.Float64).fill_null(float("nan")))
    arrays = {name: _finite(columns[name].to_numpy()) for name in columns.columns}
    return PricePath(**arrays, series=frame.table[SERIES].rle_id().cast(pl.Int32).to_numpy())


def _change(before: pl.Expr, after: pl.Expr, method: Method) -> pl.Expr:
    if method == "log":
        return (after / before).log()
    return after / before - 1 if method == "simple" else after - before


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN in place of the infinite, such as the logarithm of a low of 0."""
    return np.where(np.isfinite(values), values, np.nan)


def known_ahead(frame: Frame, config: FeaturesConfig, features: FeatureTable, steps: int) -> Ahead:
    """The features known in advance, up to `steps` rows beyond the newest of each series.

    Beyond the newest row the calendar goes on as it did, and columns of the source are unknown (NaN).
    """
    sizes = frame.table.group_by(SERIES, maintain_order=True).len()["len"].to_numpy()
    at = np.arange(frame.table.height) + steps * np.repeat(np.arange(len(sizes)), sizes)
    table = np.empty((frame.table.height + steps * len(sizes), len(features.known)), dtype=np.float32)
    if features.known:
        table[:] = build(_extended(frame, steps), known_part(frame, config)).x
        table[at] = features.x[:, features.known]
    return Ahead(table, at)


def _extended(frame: Frame, steps: int) -> Frame:
    """The frame with `steps` rows more for each series, of which only the date is known."""
    parts = []
    for rows in frame.table.partition_by(SERIES, maintain_order=True):
        future = pl.DataFrame({SERIES: [rows[SERIES][0]] * steps, DATE: next_dates(rows[DATE], steps)})
        parts.append(pl.concat([rows, future], how="diagonal"))
    return replace(frame, table=pl.concat(parts))


def next_dates(dates: pl.Series, count: int) -> pl.Series:
    """The dates that come next if the calendar goes on as it did lately.

    Steps are of the median length. Daily rows keep to the days of the week that were seen; holidays are not known.
    """
    recent = dates[-_RECENT_ROWS:]
    step = recent.diff().median() if len(recent) > 1 else None
    micros = int(step.total_seconds() * 1e6) if step else 86_400_000_000  # type: ignore[union-attr]
    newest, day = recent.dt.timestamp("us")[-1], 86_400_000_000
    if micros != day:
        found: Sequence[int] = [newest + micros * ahead for ahead in range(1, count + 1)]
    else:
        seen = set(recent.dt.weekday())
        moments = pl.Series(range(1, 7 * (count + 1))) * day + newest
        weekdays = moments.cast(pl.Datetime("us")).dt.weekday()
        found = moments.filter(weekdays.is_in(list(seen))).head(count).to_list()
    return pl.Series(DATE, found, dtype=pl.Int64).cast(dates.dtype)
