"""What is known in advance: the date itself, and published events."""

import datetime
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.features.steps.base import TableStep

Extra = Literal["week", "quarter", "day_of_year", "days_to_month_end"]


class Calendar(TableStep):
    """Day of week, day of month and month; the hour too where rows are closer than a day."""

    step: Literal["calendar"] = "calendar"
    extra: tuple[Extra, ...] = ()
    """More of the date: ISO week 1-53, quarter 1-4, day of year 1-366, days left in the month 0-30."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return ()

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        date = pl.col(DATE).dt
        parts = [date.weekday().alias("dow"), date.day().alias("dom"), date.month().alias("moy")]
        if (frame.table[DATE].dt.truncate("1d") != frame.table[DATE]).any():
            parts.append(date.hour().alias("hour"))
        more: dict[Extra, pl.Expr] = {
            "week": date.week(),
            "quarter": date.quarter(),
            "day_of_year": date.ordinal_day(),
            "days_to_month_end": date.month_end().dt.day() - date.day(),
        }
        return [*parts, *(more[name].alias(name) for name in self.extra)]


class DaysTo(TableStep):
    """Calendar days until a published event; 0 on its day.

    Events are the rows on which `column` is not 0. The column must be known in advance (`features.known`): it is read
    ahead. Behind the last such row `dates` tells the next event; without it the feature is unknown there, on the very
    rows that a forecast starts from.
    """

    step: Literal["days_to"] = "days_to"
    looks_ahead: ClassVar[bool] = True
    column: str
    """0/1 column, such as `is_wasde_day`."""
    dates: tuple[datetime.date, ...] = ()
    """Published dates of events; those after the table's last event count."""

    def over(self, frame: Frame) -> tuple[str, ...]:
        return (self.column,)

    def expressions(self, frame: Frame) -> list[pl.Expr]:
        event = pl.when(pl.col(self.column).fill_nan(None) != 0).then(DATE).backward_fill().over(SERIES)
        if self.dates:
            event = pl.coalesce(event, self._published(frame.table[DATE]))
        days = (event - pl.col(DATE)).dt.total_milliseconds() / 86_400_000
        return [days.clip(lower_bound=0).alias(f"days_to_{self.column}")]

    def _published(self, date: pl.Series) -> pl.Expr:
        """The first of `dates` on or after each row's day; null when there is none."""
        published = np.array([*sorted(self.dates), None], dtype="datetime64[us]")
        day = date.dt.truncate("1d").to_numpy()
        return pl.lit(pl.Series(published[np.searchsorted(published[:-1], day)], dtype=date.dtype))
