"""How a recipe came through named crises."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from raytrain.evaluation.gates.config import WindowConfig
from raytrain.evaluation.scoring.pairs import Pair
from raytrain.evaluation.scoring.strategy import Book


@dataclass(frozen=True, kw_only=True)
class Crisis:
    """One recipe in one window, by the dates on which its forecasts were made."""

    name: str
    first_date: str
    last_date: str
    excess_loss: float | None
    """Loss / naive's - 1: 0.1 is a tenth more than naive's; None when naive lost nothing. Where positions are judged:
    the share of the capital that they lost net of costs, below 0 when they earned, while naive lost nothing."""
    drawdown: float | None
    """Largest fall of the strategy's capital, 0 to 1; None where there is no strategy whose returns compound."""
    drawdown_long: float | None
    """The same of always long."""


def crises(pair: Pair, book: Book | None, windows: Mapping[str, WindowConfig | None]) -> list[Crisis]:
    """The windows that the judged dates hold whole, oldest first.

    Args:
        pair: usable, with columns that naive has too.
        book: its strategy; None for a threshold.
        windows: name -> days; those of None are left out.
    """
    day = pair.rows["date"].cast(pl.Date)
    found = []
    for name, window in windows.items():
        if window is not None and (day <= window.first).any() and (day >= window.last).any():
            inside = day.is_between(window.first, window.last)
            if inside.any():
                found.append(_crisis(name, window, pair, book, inside))
    return sorted(found, key=lambda crisis: crisis.first_date)


def _crisis(name: str, window: WindowConfig, pair: Pair, book: Book | None, inside: pl.Series) -> Crisis:
    earned = {} if book is None else book.performance(inside.to_numpy())
    return Crisis(
        name=name,
        first_date=str(window.first),
        last_date=str(window.last),
        excess_loss=_excess_loss(pair, book, inside),
        drawdown=earned.get("max_drawdown"),
        drawdown_long=earned.get("max_drawdown_long"),
    )


def _excess_loss(pair: Pair, book: Book | None, inside: pl.Series) -> float | None:
    if pair.judged_by == "net_return" and book:
        _, net = book.net_returns(inside.to_numpy())
        return 1 - float(np.prod(np.maximum(1 + net, 0.0)))
    if pair.judged_by != "skill":
        return None
    part = pair.on(pair.rows.filter(inside))
    loss, naive_loss = (float(part.losses(part.shared, suffix).sum()) for suffix in ("", "_naive"))
    return loss / naive_loss - 1 if naive_loss > 0 else None
