"""Whether quantiles mean what they say: the share of outcomes below each, and between them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain import metrics
from raytrain.evaluation.scoring.measures import IDENTITY, identity
from raytrain.evaluation.scoring.pairs import Pair, levels, pair_with_naive
from raytrain.evaluation.scoring.scores import table
from raytrain.metrics import Floats

SCHEMA = {
    **IDENTITY,
    "n": pl.Int64,
    "low_level": pl.Float64,
    "level": pl.Float64,
    "share_below": pl.Float64,
    "error": pl.Float64,
    "share": pl.Float64,
    "naive_share_below": pl.Float64,
    "naive_share": pl.Float64,
}


def calibration(predictions: pl.DataFrame) -> pl.DataFrame:
    """A row per family, target and bin between its levels: the outermost bins end at 0 and 1.

    - share_below: share of outcomes at or below the quantile at `level`, which it should equal; error: its standard
      error, for outcomes that depend on each other over dates.
    - share: share of outcomes in the bin, a histogram of the probability integral transform; it should be
      level - low_level.
    - naive_*: the same of naive on the same rows; null where naive has not all of the family's levels.

    Families with a median alone and threshold targets have no rows.

    Args:
        predictions: as for `raytrain.evaluation.scoring.scores.score`.
    """
    rows = (row for pair in pair_with_naive(predictions) if _has_band(pair) for row in _of_pair(pair))
    return table(rows, SCHEMA)


def _has_band(pair: Pair) -> bool:
    return pair.kind != "threshold" and pair.usable and len(pair.forecasts) > 1 and not pair.rows.is_empty()


def _of_pair(pair: Pair) -> Iterator[dict[str, Any]]:
    level = levels(pair.forecasts)
    below, share, errors = _shares(pair, "")
    naive_below, naive_share, _ = _shares(pair, "_naive") if pair.shared == pair.forecasts else ([], [], [])
    for number, high in enumerate((*level, 1.0)):
        yield {
            **identity(pair),
            "n": len(pair.rows),
            "low_level": (0.0, *level)[number],
            "level": high,
            "share_below": below[number],
            "error": errors[number],
            "share": share[number],
            "naive_share_below": naive_below[number] if len(naive_below) else None,
            "naive_share": naive_share[number] if len(naive_share) else None,
        }


def _shares(pair: Pair, suffix: str) -> tuple[list[float], list[float], list[float]]:
    """The shares below and in the bins, and the standard errors of the former."""
    actual, quantiles, level = pair.column("actual"), pair.matrix(pair.forecasts, suffix), levels(pair.forecasts)
    below = metrics.shares_below(actual, quantiles, level).tolist()
    _, date = np.unique(pair.rows["date"].to_physical().to_numpy(), return_inverse=True)
    errors = [_error((actual <= column).astype(np.float64), date, pair.horizon) for column in quantiles.T]
    return [*below, 1.0], metrics.pit_shares(actual, quantiles, level).tolist(), [*errors, 0.0]


def _error(below: Floats, date: NDArray[np.intp], horizon: int) -> float:
    """Standard error of a share whose rows depend on each other over series of one date and over neighbouring dates."""
    by_date = np.bincount(date, weights=below) / np.bincount(date)
    return metrics.mean_error(by_date, metrics.dependence_lags(len(by_date), horizon))
