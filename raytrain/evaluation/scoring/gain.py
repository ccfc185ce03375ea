"""What positions gain: their net returns, beside holding nothing or beside another strategy's."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from raytrain.evaluation.scoring.significance import skill_interval
from raytrain.evaluation.scoring.strategy import Book, Rows
from raytrain.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One number a date, net of costs: of the capital, or in the unit of the price for targets that are differences."""

    day: NDArray[np.int64]
    """(dates,) rising."""
    net: Floats
    """(dates,) what was earned, less what the other strategy earned."""
    horizon: int
    """Rows that a position is held: returns of dates so close share positions."""
    periods_per_year: float

    @classmethod
    def of(cls, book: Book, other: Book | None = None, rows: Rows = slice(None)) -> Self:
        """What a book earned.

        Args:
            book: on rows that the other book has too.
            other: another strategy, which earns 0 on days on which it neither holds nor pays; None for naive, which
                holds nothing at all.
            rows: those of the book, and of the other one, whose positions are taken.
        """
        day, net = book.net_returns(rows)
        if other is not None:
            their_day, theirs = other.net_returns(rows)
            days = np.union1d(day, their_day)
            difference = np.zeros(len(days))
            difference[np.searchsorted(days, day)] += net
            difference[np.searchsorted(days, their_day)] -= theirs
            day, net = days, difference
        return cls(day=day, net=net, horizon=book.horizon, periods_per_year=book.market.periods_per_year)

    @property
    def a_year(self) -> float:
        """Mean of a date times the dates of a year, not compounded; nan without a date."""
        return float(self.net.mean()) * self.periods_per_year if len(self.net) else float("nan")

    def interval(self, confidence: float, seed: int = 42) -> tuple[float, float]:
        """Of `a_year`, by `skill_interval`, whose 1 - sum(1 - net) / sum(1) is the mean; nan for too few dates."""
        if not len(self.net):
            return float("nan"), float("nan")
        low, high = skill_interval(
            1 - self.net, np.ones(len(self.net)), self.day, self.horizon, level=confidence, seed=seed
        )
        return low * self.periods_per_year, high * self.periods_per_year
