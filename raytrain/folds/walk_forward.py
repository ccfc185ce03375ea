"""Folds by date.

Time is cut into calendar blocks (`test_span`), counted from 1970, so that a new row never moves a block. A fold trains
on everything known at the end of the block before and is tested on its block. The purge is not a number that anyone
types: a training row counts only if its label was known at the cut-off.
"""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, field_validator

from raytrain.config import Section
from raytrain.errors import DataError

Dates = NDArray[np.int64]
"""Nanoseconds since 1970."""

_SPAN = re.compile(r"[1-9]\d{0,3}(m|h|d)|[1-9]\d{0,2}(w|mo)|[1-9]\d?(q|y)")
"""Up to a century: dates are nanoseconds in 64 bits."""


class FoldsConfig(Section):
    """How the past is replayed."""

    test_span: str = "1y"
    """Calendar length of a test block: a number and one of m, h, d, w, mo, q, y."""
    num_folds: int = Field(5, ge=1)
    """Test blocks, the newest ones; the newest of all may still be open."""
    train_span: str | None = None
    """Train on this length before the cut-off (rolling); on everything before it when not given (expanding)."""
    min_train_rows: int = Field(250, ge=10)
    """A fold with fewer training rows than this is refused."""

    @field_validator("test_span", "train_span")
    @classmethod
    def _is_a_span(cls, value: str | None) -> str | None:
        if value is not None and not _SPAN.fullmatch(value):
            raise ValueError("must be a calendar length up to 99y, such as 6mo, 1q, 1y, 4w, 30d, 12h")
        return value


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One walk-forward step; all bounds in nanoseconds since 1970."""

    name: str
    """The first day of the test block, ISO."""
    train_start: int | None
    """First date that may be trained on; None for all."""
    cutoff: int
    """Last date known when the forecasts are made, included."""
    test_start: int
    test_end: int
    """Test rows lie in test_start <= date < test_end."""


def walk_forward(dates: pl.Series, config: FoldsConfig) -> list[Fold]:
    """The newest `num_folds` folds, oldest first.

    Args:
        dates: the dates of all rows that have features, of all series.
        config: spans and number.

    Raises:
        DataError: there is no such row, or there are fewer blocks with a past than asked for.
    """
    if dates.is_empty():
        raise DataError("a series must be longer than the features' look-back, got none; bring more rows")
    days = dates.unique().sort()
    blocks = days.dt.truncate(config.test_span).unique().sort()
    starts = blocks[1:]
    if len(starts) < config.num_folds:
        raise DataError(
            f"folds.num_folds = {config.num_folds} blocks of {config.test_span} need as many blocks after the first, "
            f"got {len(starts)} between {days[0]} and {days[-1]}; lower num_folds or test_span, or bring more rows"
        )
    return [_fold(days, start, config) for start in starts[-config.num_folds :]]


def latest(dates: pl.Series, config: FoldsConfig) -> Fold:
    """Train on everything whose label is known on the newest date, and predict the rows of that date.

    A series that ended before it has no such row, and no forecast.
    """
    newest = dates.sort()[-1:]
    train_start = None if config.train_span is None else _ns(newest.dt.offset_by(f"-{config.train_span}"))
    now = _ns(newest)
    return Fold(name="latest", train_start=train_start, cutoff=now, test_start=now, test_end=now + 1)


def _fold(days: pl.Series, start: object, config: FoldsConfig) -> Fold:
    begin = pl.Series([start], dtype=days.dtype)
    cutoff = days.filter(days < begin[0]).max()
    train_start = None
    if config.train_span is not None:
        train_start = _ns(begin.dt.offset_by(f"-{config.train_span}"))
    return Fold(
        name=str(begin.dt.strftime("%Y-%m-%d" if _whole_days(config.test_span) else "%Y-%m-%dT%H:%M")[0]),
        train_start=train_start,
        cutoff=_ns(pl.Series([cutoff], dtype=days.dtype)),
        test_start=_ns(begin),
        test_end=_ns(begin.dt.offset_by(config.test_span)),
    )


def _whole_days(span: str) -> bool:
    return span[-1] not in "mh"


def _ns(one: pl.Series) -> int:
    return int(one.dt.timestamp("ns")[0])


def train_rows(fold: Fold, date: Dates, label_date: Dates) -> NDArray[np.bool_]:
    """Rows that may be trained on: dated in the training span, with a label known at the cut-off."""
    known = (date <= fold.cutoff) & (label_date <= fold.cutoff)
    return known if fold.train_start is None else known & (date >= fold.train_start)


def test_rows(fold: Fold, date: Dates) -> NDArray[np.bool_]:
    """Rows whose forecast is judged by this fold."""
    return (date >= fold.test_start) & (date < fold.test_end)
