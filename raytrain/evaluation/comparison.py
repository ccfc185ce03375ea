"""Two forecasters on the rows that both forecast from the same cut-offs."""

from dataclasses import dataclass

import polars as pl

from raytrain import metrics
from raytrain.evaluation.diebold_mariano import DieboldMariano, diebold_mariano
from raytrain.evaluation.pairs import ROW, Pair
from raytrain.evaluation.significance import skill_interval
from raytrain.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a candidate loses beside another forecaster, on common rows."""

    other: str
    """The other's family."""
    skill: float
    """1 - loss / other loss; above 0 when the candidate loses less, nan when the other loses nothing."""
    low: float
    """Lower end of the interval of skill, by block bootstrap; nan where there are too few dates."""
    high: float
    test: DieboldMariano
    mape: float | None = None
    """Of the price; None for a threshold, or where a price is 0."""
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


def against_naive(pair: Pair) -> DieboldMariano | None:
    """The candidate's losses against naive's; None where there is nothing to compare."""
    if pair.rows.is_empty() or not pair.usable or not pair.shared:
        return None
    day = pair.rows["date"].to_physical().to_numpy()
    return diebold_mariano(pair.losses(pair.shared), pair.losses(pair.shared, "_naive"), day, pair.horizon)


def iso_day(date: object) -> str:
    """A date as ISO, without a midnight; empty for none."""
    return "" if date is None else str(date).removesuffix(" 00:00:00").replace(" ", "T")


def _price_mape(pair: Pair, forecast: str) -> float | None:
    price: Floats = pair.column("price_actual")
    if pair.kind == "threshold" or (price == 0).any():
        return None
    return metrics.mape(price, pair.column(forecast))
