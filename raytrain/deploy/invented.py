"""Rows that nobody has observed, for a forecast that only shows that a bundle forecasts the same everywhere."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.deploy.contents import Bundle
from raytrain.deploy.schema import Column

_END = datetime(2021, 1, 4)
_DAYS_A_YEAR = 365.25
_CALM = 0.01
"""Deviation of a row's log return."""


def invented_rows(bundle: Bundle, seed: int = 7) -> pl.DataFrame:
    """A table that a bundle takes: for each series a random walk, a little more than the rows it needs.

    Args:
        bundle: whose schema says what is needed.
        seed: the same seed gives the same rows.
    """
    schema = bundle.schema
    count = schema.warm_up_rows + 10
    dates = _dates(count, bundle.data.periods_per_year)
    rng = np.random.default_rng(seed)
    parts = []
    for name in schema.series:
        price = 100 * np.exp(np.cumsum(rng.normal(0, _CALM, count)))
        values = {column.name: _values(column, bundle, price, rng) for column in schema.columns}
        parts.append(pl.DataFrame(values | {bundle.data.date: dates, bundle.data.series: [name] * count}))
    return pl.concat(parts)


def _dates(count: int, periods_per_year: float) -> list[datetime]:
    """As far apart as those of the run: on business days, on all days, or in even steps."""
    if 200 < periods_per_year < 300:
        days = (_END - timedelta(days=place) for place in range(2 * count + 7))
        found = [day for day in days if day.weekday() < 5][:count]
        return found[::-1]
    step = timedelta(seconds=round(_DAYS_A_YEAR * 86400 / periods_per_year))
    return [_END - step * place for place in reversed(range(count))]


def _values(column: Column, bundle: Bundle, price: NDArray[np.float64], rng: np.random.Generator) -> pl.Series:
    data, count = bundle.data, len(price)
    if column.kind == "category":
        known = column.categories or ("a", "b")
        return pl.Series(column.name, [known[place % len(known)] for place in range(count)])
    factors = {data.price: 1.0, data.high: 1 + _CALM, data.low: 1 - _CALM}
    if column.name in factors:
        return pl.Series(column.name, price * factors[column.name])
    if column.name == data.volatility_index:
        return pl.Series(column.name, 15 + np.abs(rng.normal(size=count)))
    return pl.Series(column.name, rng.normal(size=count))
