"""What acting on forecasts would have earned: positions, costs, and one return a date over all series."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain import metrics
from raytrain.errors import DataError
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.pairs import MEDIAN, POSITION, ROW, Pair
from raytrain.metrics import Floats

Places = NDArray[np.int64]
Rows = NDArray[np.bool_] | slice


@dataclass(frozen=True, kw_only=True)
class Market:
    """Every bar, ordered by series and date, and what it earned since the bar before it in its series.

    The first bar of a series has no bar before it: NaN. Neither is there a volatility before there are enough rows.
    """

    keys: pl.DataFrame
    """(series_id, date, place) of each bar."""
    date: NDArray[np.int64]
    start: NDArray[np.int64]
    """(bars,) place of the first bar of the bar's series."""
    end: NDArray[np.int64]
    """(bars,) one past the place of the last one."""
    before: Floats
    """Price of the bar before."""
    change: Floats
    simple: Floats
    volatility_change: Floats
    """Root mean square of the newest one-row changes, this bar's included."""
    volatility_simple: Floats
    periods_per_year: float
    config: EvaluationConfig

    @classmethod
    def make(cls, bars: pl.DataFrame, periods_per_year: float, config: EvaluationConfig) -> Self:
        """Read the bars.

        Args:
            bars: series_id, date, close: all bars of the test range, and what came before for volatilities.
            periods_per_year: bars in a year: 252 on daily bars.
            config: the strategy.

        Raises:
            DataError: bars repeat a date.
        """
        if bars.select(ROW).is_duplicated().any():
            raise DataError("bars must have one row per series and date, got some twice; drop the repeated rows")
        close, rows = pl.col("close"), config.volatility_rows
        made = bars.select(*ROW, close.cast(pl.Float64)).sort(ROW)
        made = made.with_columns(before=close.shift(1).over("series_id"), place=pl.int_range(pl.len()))
        made = made.with_columns(change=close - pl.col("before"), simple=close / pl.col("before") - 1)
        root = [
            (pl.col(name) ** 2).rolling_mean(rows).over("series_id").sqrt().alias(f"volatility_{name}")
            for name in ("change", "simple")
        ]
        ends = [
            pl.col("place").min().over("series_id").alias("start"),
            pl.col("place").max().over("series_id").alias("end") + 1,
        ]
        made = made.with_columns(*root, *ends)
        floats = ("before", "change", "simple", "volatility_change", "volatility_simple")
        return cls(
            keys=made.select(*ROW, "place"),
            date=made["date"].to_physical().cast(pl.Int64).to_numpy(),
            start=made["start"].to_numpy(),
            end=made["end"].to_numpy(),
            periods_per_year=periods_per_year,
            config=config,
            **{name: made[name].fill_null(np.nan).to_numpy() for name in floats},
        )

    def require_all(self, predictions: pl.DataFrame) -> None:
        """Refuse forecasts without a bar of their date.

        Raises:
            DataError: there is one.
        """
        missing = predictions.join(self.keys, on=ROW, how="anti").sort(ROW)
        if not missing.is_empty():
            row = missing.row(0, named=True)
            raise DataError(
                f"every forecast needs the bar of its date, got none for {row['series_id']} at {row['date']} "
                f"({len(missing)} rows in all); pass all bars of the test range"
            )


@dataclass(frozen=True, kw_only=True)
class Book:
    """The positions of one family on one target, and of who is always long on the same rows."""

    market: Market
    horizon: int
    place: Places
    """(n,) the bar at whose close each position is taken, in the order of the pair's rows."""
    position: Floats
    """(n,) -1 short to 1 long."""
    earns: Floats
    """(bars,) what a whole capital that is long earns."""
    cost_bp: Floats
    """(bars,) cost of trading the whole capital, in basis points of the unit of `earns`."""
    compounds: bool
    """Whether `earns` are simple returns; changes of a price do not compound."""

    @classmethod
    def make(cls, pair: Pair, market: Market) -> Self:
        """Take positions on the medians of a pair whose forecasts are usable.

        Simple returns are earned, which add up over positions as log returns do not; for the method `difference`,
        where prices may be 0, changes of the price.
        """
        price_changes = pair.method == "difference"
        place = pair.rows.join(market.keys, on=ROW, how="left", maintain_order="left")["place"].to_numpy()
        cost_bp = np.full(len(market.date), market.config.cost_bp)
        return cls(
            market=market,
            horizon=pair.horizon,
            place=place,
            position=_positions(pair, market, place),
            earns=market.change if price_changes else market.simple,
            cost_bp=cost_bp * np.abs(market.before) if price_changes else cost_bp,
            compounds=not price_changes,
        )

    def performance(self, rows: Rows = slice(None)) -> dict[str, float]:
        """What the positions taken on some rows of the pair earned, beside always long on the same rows.

        sharpe, sharpe_error, sharpe_long, sharpe_long_error: annualised; the errors allow for dependent and not normal
        returns. max_drawdown, max_drawdown_long: null where returns do not compound. turnover: how often the whole
        capital is traded in a year; getting in and out once counts 2.
        num_periods, skewness, kurtosis: of the returns behind `sharpe`, for those who correct it.
        """
        _, mine, turnover = self._daily(self.position, rows)
        _, long, _ = self._daily(np.ones(len(self.position)), rows)
        if len(mine) == 0:
            return {}
        years = self.market.periods_per_year
        skewness, kurtosis = _shape(mine)
        found = {"num_periods": len(mine), "turnover": turnover, "skewness": skewness, "kurtosis": kurtosis}
        for name, earned in (("", mine), ("_long", long)):
            lags = metrics.dependence_lags(len(earned), self.horizon)
            found[f"sharpe{name}"] = metrics.sharpe(earned, years)
            found[f"sharpe{name}_error"] = metrics.sharpe_error(earned, years, lags)
            if self.compounds:
                found[f"max_drawdown{name}"] = metrics.max_drawdown(earned)
        return found

    def net_returns(self, rows: Rows = slice(None)) -> tuple[Places, Floats]:
        """(dates,) the days, rising, and what the positions taken on some rows of the pair earned there, costs off."""
        day, earned, _ = self._daily(self.position, rows)
        return day, earned

    def _daily(self, position: Floats, rows: Rows) -> tuple[Places, Floats, float]:
        """(dates,) the days, the mean return of the series that hold something there, and the turnover a year."""
        parts = list(self._by_series(position[rows], self.place[rows]))
        if not parts:
            return np.empty(0, np.int64), np.empty(0), float("nan")
        date, earned = (np.concatenate(one) for one in list(zip(*parts, strict=True))[:2])
        day, at, count = np.unique(date, return_inverse=True, return_counts=True)
        traded = sum(moved for _, _, moved in parts)
        return day, np.bincount(at, weights=earned) / count, traded / len(date) * self.market.periods_per_year

    def _by_series(
        self, position: Floats, place: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Floats, float]]:
        """Of each series: the dates on which it holds or pays something, what it earns there, and all it trades."""
        start = self.market.start[place]
        for first in np.unique(start):
            mine = start == first
            low = place[mine].min()
            # The row after the last one that is held pays for getting out.
            high = min(place[mine].max() + self.horizon + 2, self.market.end[low])
            taken = np.full(high - low, np.nan)
            taken[place[mine] - low] = position[mine]
            span = slice(low, high)
            earned = metrics.overlapping_portfolio(taken, self.earns[span], self.horizon, self.cost_bp[span])
            held, _ = metrics.holdings(taken, self.horizon)
            live = ~np.isnan(earned)
            yield self.market.date[span][live], earned[live], float(np.abs(np.diff(held, prepend=0.0)).sum())


def _positions(pair: Pair, market: Market, place: Places) -> Floats:
    median = pair.column(MEDIAN)
    if market.config.strategy == "sign":
        taken = np.sign(median)
    else:
        row = market.volatility_change if pair.method == "difference" else market.volatility_simple
        volatility = row[place] * np.sqrt(pair.horizon)
        taken = metrics.sized_positions(median, volatility, market.config.full_size)
    if POSITION not in pair.rows.columns:
        return taken
    own = pair.rows[POSITION].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.where(np.isnan(own), taken, own)


def _shape(returns: Floats) -> tuple[float, float]:
    """Skewness and kurtosis (3 for the normal distribution); nan where nothing varies."""
    deviation = returns.std()
    if deviation <= 1e-12 * np.abs(returns).max():
        return float("nan"), float("nan")
    standard = (returns - returns.mean()) / deviation
    return float(np.mean(standard**3)), float(np.mean(standard**4))
