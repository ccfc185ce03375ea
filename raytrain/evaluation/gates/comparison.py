"""Two forecasters on the rows that both forecast from the same cut-offs."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from raytrain import metrics
from raytrain.evaluation.gates.diebold_mariano import DieboldMariano, diebold_mariano
from raytrain.evaluation.scoring.gain import Gain
from raytrain.evaluation.scoring.pairs import ROW, JudgedBy, Pair
from raytrain.evaluation.scoring.significance import skill_interval
from raytrain.evaluation.scoring.strategy import Book, Market
from raytrain.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a candidate loses, or earns, beside another forecaster, on common rows."""

    other: str
    """The other's family."""
    skill: float
    """1 - loss / other loss; above 0 when the candidate loses less, nan when the other loses nothing. Where positions
    are judged: how much more they earn in a year, net of costs."""
    low: float
    """Lower end of the interval of skill, by block bootstrap; nan where there are too few dates."""
    high: float
    test: DieboldMariano
    judged_by: JudgedBy = "skill"
    mape: float | None = None
    """Of the price; None for a threshold, where a price is 0, and where positions are judged."""
    other_mape: float | None = None
    first_date: str = ""
    last_date: str = ""


def compare(ours: Pair, other: Pair, confidence: float) -> Comparison | None:
    """Compare on the rows that both know, forecast by fits of the same fold: equal cut-offs, equal knowledge.

    Losses are of the forecast columns that both have; a row that one of them forecast from another fold is left out.

    Args:
        ours: the candidate.
        other: on the same target.
        confidence: of the interval, two-sided.

    Returns:
        None when there is no common row or column, or a forecast is not finite.
    """
    shared = [name for name in ours.forecasts if name in other.forecasts]
    theirs = [*shared, "price_forecast"]
    rows = ours.rows.join(other.rows.select(*ROW, "fold", pl.col(theirs).name.suffix("_other")), on=[*ROW, "fold"])
    if not shared or rows.is_empty() or not (ours.usable and other.usable):
        return None
    both = ours.on(rows)
    loss, other_loss = both.losses(shared), both.losses(shared, "_other")
    dates = rows["date"]
    day = dates.to_physical().to_numpy()
    low, high = skill_interval(loss, other_loss, day, ours.horizon, level=confidence)
    total = float(other_loss.sum())
    return Comparison(
        other=other.family,
        skill=1 - float(loss.sum()) / total if total > 0 else float("nan"),
        low=low,
        high=high,
        test=diebold_mariano(loss, other_loss, day, ours.horizon),
        mape=_price_mape(both, "price_forecast"),
        other_mape=_price_mape(both, "price_forecast_other"),
        first_date=iso_day(dates.min()),
        last_date=iso_day(dates.max()),
    )


def compare_earnings(ours: Pair, other: Pair, market: Market, confidence: float) -> Comparison | None:
    """Compare what both strategies earn, net of costs, on the rows that `compare` compares and on the same days.

    A family without positions of its own takes those that the market's strategy makes of its median.

    Args:
        ours: the candidate.
        other: on the same target.
        market: the bars and the strategy.
        confidence: of the interval, two-sided.

    Returns:
        None when there is no common row, or a forecast is not finite.
    """
    both = [*ROW, "fold"]
    mine = ours.on(ours.rows.join(other.rows, on=both, how="semi", maintain_order="left"))
    theirs = other.on(other.rows.join(ours.rows, on=both, how="semi", maintain_order="left"))
    if not (mine.tradable and theirs.tradable):
        return None
    gain = Gain.of(Book.make(mine, market), Book.make(theirs, market))
    low, high = gain.interval(confidence)
    return Comparison(
        other=other.family,
        skill=gain.a_year,
        low=low,
        high=high,
        test=_test_of(gain),
        judged_by="net_change" if ours.method == "difference" else "net_return",
        first_date=iso_day(mine.rows["date"].min()),
        last_date=iso_day(mine.rows["date"].max()),
    )


def against_naive(pair: Pair, market: Market) -> DieboldMariano | None:
    """The candidate's losses against naive's, or where positions are judged, their net returns against 0.

    Returns:
        None where there is nothing to compare.
    """
    if pair.rows.is_empty() or not pair.usable or not pair.shared:
        return None
    if pair.judged_by != "skill":
        return _test_of(Gain.of(Book.make(pair, market)))
    day = pair.rows["date"].to_physical().to_numpy()
    return diebold_mariano(pair.losses(pair.shared), pair.losses(pair.shared, "_naive"), day, pair.horizon)


def _test_of(gain: Gain) -> DieboldMariano:
    return diebold_mariano(-gain.net, np.zeros(len(gain.net)), gain.day, gain.horizon)


def iso_day(date: object) -> str:
    """A date as ISO, without a midnight; empty for none."""
    return "" if date is None else str(date).removesuffix(" 00:00:00").replace(" ", "T")


def _price_mape(pair: Pair, forecast: str) -> float | None:
    price: Floats = pair.column("price_actual")
    if pair.kind == "threshold" or (price == 0).any():
        return None
    return metrics.mape(price, pair.column(forecast))
