"""What differs between the rows that two fits saw, in words: which columns, how many rows, from when to when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.features.targets import Method
from raytrain.work.dataset import PATH, Dataset

_MOST_NAMED = 5
"""Columns that are named; of more, only how many there are."""


def day(nanoseconds: int) -> str:
    """An ISO date, with the time where it is not midnight."""
    moment = datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC)
    return moment.strftime("%Y-%m-%d" if (moment.hour, moment.minute) == (0, 0) else "%Y-%m-%d %H:%M")


@dataclass(frozen=True)
class Span:
    """Rows dated after `after`, up to `until`, both in nanoseconds since 1970."""

    after: int
    until: int


@dataclass(frozen=True)
class _Series:
    """The rows of one series in a span, of both datasets."""

    name: str
    old: NDArray[np.intp]
    new: NDArray[np.intp]
    """Rows that both have, side by side."""
    gone: NDArray[np.int64]
    added: NDArray[np.int64]
    """Dates of rows that only one of them has."""


@dataclass(frozen=True)
class Comparison:
    """Two datasets, the earlier one first."""

    old: Dataset
    new: Dataset

    def features(self, span: Span) -> list[str]:
        """What differs of the features."""
        before, now = (list(one.meta["features"]) for one in (self.old, self.new))
        both = [name for name in now if name in before]
        told = [*_names("feature", before, now), *self.rows(span)]
        if not told and before != now:
            told.append("the features stand in another order")
        told += _named([self._column(name, before.index(name), now.index(name), span) for name in both])
        return told + self._value("what counts as warm-up", self.old.usable, self.new.usable, span)

    def labels(self, targets: Sequence[str], span: Span) -> list[str]:
        """What differs of the labels that were known at the end of the span, and of how much rows count."""
        told = []
        for target in targets:
            old, new = (
                np.where(one.label_date(target) <= span.until, one.y(target), np.float32("nan"))
                for one in (self.old, self.new)
            )
            told += self._value(target, old, new, span)
        return told + self._value("the weight", self.old.weight, self.new.weight, span)

    def prices(self, methods: Sequence[Method], span: Span) -> list[str]:
        """What differs of the path of prices."""
        told = []
        for name in (f"{part}-{method}" for method in methods for part in PATH):
            if name in self.old.arrays and name in self.new.arrays:
                told += self._value(name, self.old.arrays[name], self.new.arrays[name], span)
        return told

    def rows(self, span: Span) -> list[str]:
        """Rows that only one of them has."""
        told = []
        for series in self._series(span):
            for dates, what in ((series.gone, "gone"), (series.added, "new")):
                if len(dates):
                    told.append(f"{_count(len(dates), f'{what} row')} of {series.name}: {_from_to(dates)}")
        return told

    def series(self) -> list[str]:
        """Series that only one of them has."""
        return _names("series", self.old.meta["series"], self.new.meta["series"])

    def _column(self, name: str, before: int, now: int, span: Span) -> str:
        return "".join(self._value(f"`{name}`", self.old.x[:, before], self.new.x[:, now], span))

    def _value(self, what: str, old: NDArray[Any], new: NDArray[Any], span: Span) -> list[str]:
        """One line if any of the rows that both have differs."""
        differing, first = [], ""
        for series in self._series(span):
            a, b = np.asarray(old[series.old]), np.asarray(new[series.new])
            # Bits, so that a NaN equals a NaN.
            changed = np.flatnonzero(_bits(a) != _bits(b))
            if len(changed):
                differing.append(self.new.date[series.new[changed]])
                at = f"{series.name} {day(int(differing[-1][0]))}"
                first = first or f"first {at}, was {a[changed[0]]:.6g}, is {b[changed[0]]:.6g}"
        if not differing:
            return []
        dates = np.concatenate(differing)
        return [f"{what} differs on {_count(len(dates), 'row')} {_from_to(dates)} ({first})"]

    def _series(self, span: Span) -> Iterator[_Series]:
        for name in self.new.meta["series"]:
            if name in self.old.meta["series"]:
                old, new = (_rows(one, name, span) for one in (self.old, self.new))
                before, now = self.old.date[old], self.new.date[new]
                _, left, right = np.intersect1d(before, now, assume_unique=True, return_indices=True)
                yield _Series(name, old[left], new[right], np.setdiff1d(before, now), np.setdiff1d(now, before))


def _rows(dataset: Dataset, name: str, span: Span) -> NDArray[np.intp]:
    code = dataset.meta["series"].index(name)
    return np.flatnonzero((dataset.series == code) & (dataset.date > span.after) & (dataset.date <= span.until))


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _names(what: str, before: Sequence[str], now: Sequence[str]) -> list[str]:
    added, gone = ([name for name in one if name not in other] for one, other in ((now, before), (before, now)))
    told = [(added, "new"), (gone, "gone")]
    return [f"{what} {', '.join(names)} {'is' if len(names) == 1 else 'are'} {verb}" for names, verb in told if names]


def _named(columns: Sequence[str]) -> list[str]:
    """The first few of those that say something, and how many there are beside them."""
    told = [line for line in columns if line]
    more = len(told) - _MOST_NAMED
    return told[:_MOST_NAMED] + ([f"and {_count(more, 'feature')} more"] if more > 0 else [])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _from_to(dates: NDArray[np.int64]) -> str:
    first, last = day(int(dates.min())), day(int(dates.max()))
    return first if first == last else f"{first} to {last}"
