"""Whether live forecasts are worse than the back-test promised, or were merely out of luck."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from raytrain.data.frame import DATE
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.measures import row_measures
from raytrain.evaluation.scoring.pairs import NAIVE, Pair
from raytrain.evaluation.scoring.scores import table
from raytrain.evaluation.scoring.significance import MIN_BLOCKS, expanded_tail
from raytrain.metrics import Floats

SCHEMA = {
    "family": pl.String,
    "target": pl.String,
    "label": pl.String,
    "horizon": pl.Int64,
    "measure": pl.String,
    "num_dates": pl.Int64,
    "live": pl.Float64,
    "backtest": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "drifted": pl.Boolean,
}
_SAMPLES = 4000


@dataclass(frozen=True)
class _Measure:
    name: str
    column: str
    worse: str
    """The side on which it is worse: `high`, `low` or `both`."""
    is_share: bool = False


LOSS, LEAD = "loss", "lead over naive"
_MEASURES = (
    _Measure(LOSS, "loss", "high"),
    _Measure(LEAD, "lead", "low"),
    _Measure("coverage", "inside", "both", is_share=True),
    _Measure("direction", "right", "low", is_share=True),
)


def judge(live: Pair, backtest: Pair, config: EvaluationConfig, seed: int = 42) -> pl.DataFrame:
    """Compare the means over live dates with what as many dates of the back-test give.

    One row per measure that both have on enough dates, see `raytrain.evaluation.live.track.LiveTable.drift`. Rows of
    one date are averaged first. The lead is naive's loss less the family's, as a fraction of naive's mean loss in the
    back-test.

    Args:
        live: forecasts that were given, with outcomes.
        backtest: the walk-forward of the same family and target on earlier dates, with the same levels.
        config: confidence and number of dates.
        seed: of the bootstrap.
    """
    if live.shared != backtest.shared or not (live.usable and backtest.usable):
        return table([], SCHEMA)
    scale = float(backtest.losses(backtest.shared, "_naive").mean()) if backtest.shared else 1.0
    now, then = (_by_date(pair, scale) for pair in (live, backtest))
    return table(_rows(live, now, then, config, seed), SCHEMA)


def _by_date(pair: Pair, scale: float) -> pl.DataFrame:
    lead = (pl.col("naive_loss") - pl.col("loss")) / (scale or 1.0)
    return row_measures(pair).with_columns(lead=lead).group_by(DATE).agg(pl.col(pl.Float64).mean()).sort(DATE)


def _rows(
    pair: Pair, now: pl.DataFrame, then: pl.DataFrame, config: EvaluationConfig, seed: int
) -> Iterator[dict[str, Any]]:
    for one in _MEASURES:
        if one.name == LEAD and pair.family == NAIVE:
            continue
        live, earlier = (part[one.column].drop_nulls().to_numpy() for part in (now, then))
        if len(live) < config.min_live_dates:
            continue
        sides = 2 if one.worse == "both" else 1
        tail = (1 - config.live_confidence) / sides
        low, high = usual_range(earlier, len(live), pair.horizon, tail, seed=seed)
        if np.isnan(low):
            continue
        if one.is_share:
            low, high = max(low, 0.0), min(high, 1.0)
        mean = float(live.mean())
        yield {
            "family": pair.family,
            "target": pair.target,
            "label": pair.label,
            "horizon": pair.horizon,
            "measure": one.name,
            "num_dates": len(live),
            "live": mean,
            "backtest": float(earlier.mean()),
            "low": low,
            "high": high,
            "drifted": (one.worse != "high" and mean < low) or (one.worse != "low" and mean > high),
        }


def usual_range(values: Floats, num_dates: int, horizon: int, tail: float, *, seed: int = 42) -> tuple[float, float]:
    """The range in which the mean of `num_dates` new dates lies if nothing has changed, by a block bootstrap.

    Two samples are drawn from the back-test in circular blocks, one as long as the live stretch and one as long as the
    back-test, so that both errors count. A block is as long as forecasts overlap, max(horizon, n ** (1/3)) dates, and
    at least as long as the stretch, so that calm and stormy times stay whole. The percentiles are widened for the
    number of blocks by Student's t. At a tail of 0.01, 1 to 3 % of unchanged stretches lay beyond it in simulations
    with 20 blocks and more, losses of strongly clustered volatility included; with 8 blocks of those 7 %.

    Args:
        values: (n,) of the back-test, one per date, in order.
        num_dates: of the new stretch.
        horizon: rows ahead that the forecasts look.
        tail: probability beyond either end, between 0 and 0.5.
        seed: the same seed gives the same range.

    Returns:
        (low, high); (nan, nan) when the back-test is shorter than 3 blocks.

    Sources: Politis & Romano (1992), A circular block-resampling procedure for stationary data; Hesterberg (2015), What
        teachers should know about the bootstrap, section 5.3, expanded percentiles.
    """
    block = max(horizon, num_dates, int(np.ceil(len(values) ** (1 / 3))))
    num_blocks = len(values) / block
    if num_blocks < MIN_BLOCKS:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    stretch, whole = (_resampled_means(values, size, block, rng) for size in (num_dates, len(values)))
    tail = expanded_tail(tail, num_blocks)
    low, high = np.quantile(values.mean() + stretch - whole, [tail, 1 - tail])
    return float(low), float(high)


def _resampled_means(values: Floats, size: int, block: int, rng: np.random.Generator) -> Floats:
    """(samples,) means of `size` values drawn in circular blocks."""
    block = min(block, size)
    per_sample = -(-size // block)
    lengths = np.full(per_sample, block)
    lengths[-1] = size - (per_sample - 1) * block
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values]))])
    starts = rng.integers(0, len(values), (_SAMPLES, per_sample))
    means: Floats = (running[starts + lengths] - running[starts]).sum(axis=1) / size
    return means


def warnings(drift: pl.DataFrame, confidence: float) -> Sequence[str]:
    """What drifted, one line per target and family."""
    if drift.is_empty():
        return ()
    out = drift.filter("drifted")
    return [_line(rows, confidence) for rows in out.partition_by("target", "family", maintain_order=True)]


def _line(rows: pl.DataFrame, confidence: float) -> str:
    first = rows.row(0, named=True)
    told = [
        f"{row['measure']} {row['live']:.3g} (back-test {row['backtest']:.3g}, usual {row['low']:.3g} to "
        f"{row['high']:.3g})"
        for row in rows.iter_rows(named=True)
    ]
    market = LOSS in rows["measure"] and LEAD not in rows["measure"]
    why = "; its lead over naive is as usual, so the market has changed and not the model" if market else ""
    return (
        f"{first['target']}: live forecasts of {first['family']} on {first['num_dates']} dates are outside what the "
        f"back-test promised at {100 * confidence:g} % confidence: {', '.join(told)}{why}"
    )
