"""Live tracking: what earlier runs forecast, scored by what happened, against what the back-test promised."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.live.drift import judge, warnings
from raytrain.evaluation.live.past_forecasts import past_forecasts
from raytrain.evaluation.scoring.measures import (
    IDENTITY,
    INTERVAL,
    MEASURES,
    ROW_MEASURES,
    interval,
    measures,
    row_measures,
)
from raytrain.evaluation.scoring.pairs import NAIVE, Pair, pair_with_naive
from raytrain.evaluation.scoring.scores import table
from raytrain.features.targets import TargetConfig

_LIVE = "live "
"""Stands before the name of a family whose forecasts were given, beside the naive one of the back-test."""
_BACKTEST = ("n_dates", "loss", "naive_loss", "skill", "coverage", "directional_accuracy", "brier")


@dataclass(frozen=True, kw_only=True)
class LiveTable:
    """Live forecasts and what became of them. Tables may be empty, without columns."""

    rows: pl.DataFrame
    """A row per forecast, newest last: the columns of `past_forecasts`, and loss, naive_loss, inside (the band), right
    (the direction), null while the outcome is not known."""
    scores: pl.DataFrame
    """A row per target and family with outcomes: the measures of `raytrain.evaluation.scoring.scores.score` without
    those of a strategy, first_date, last_date, and `backtest_*`: the same of the family's walk-forward before the
    judged dates."""
    drift: pl.DataFrame
    """A row per target, family and measure that could be judged: the mean over live dates, over the back-test, the
    range in which the mean of as many dates lies at the confidence, and whether it is outside on the worse side."""
    num_pending: int
    """Forecasts whose outcome is not known yet."""
    warnings: tuple[str, ...]
    """For the run's summary: drift, and what was left out."""


def track(
    store: Path,
    frame: Frame,
    targets: Sequence[TargetConfig],
    predictions: pl.DataFrame,
    config: EvaluationConfig | None = None,
    *,
    confidence: float = 0.9,
    seed: int = 42,
) -> LiveTable:
    """Score what earlier runs of a store forecast.

    Args:
        store: the folder with `runs/`; the present run's forecast may or may not be there.
        frame: today's data.
        targets: today's targets; forecasts of others are not looked at.
        predictions: today's walk-forward, as `raytrain.evaluation.scoring.scores.score` takes it: naive's forecasts on
            the live dates, and the back-test.
        config: when live forecasts are called worse.
        confidence: of the interval of skill, two-sided.
        seed: of the bootstraps.
    """
    past = past_forecasts(store, frame, targets)
    if past.rows.is_empty():
        nothing = pl.DataFrame()
        return LiveTable(rows=nothing, scores=nothing, drift=nothing, num_pending=0, warnings=past.notes)
    pairs = _live_pairs(past.rows, predictions)
    backtest = {(pair.family, pair.target): pair for pair in _pairs(predictions)}
    config = config or EvaluationConfig()
    compared = [_compare(pair, backtest.get((pair.family, pair.target)), config.max_live_dates) for pair in pairs]
    judged = [judge(one.newest, one.backtest, config, seed) for one in compared if one.backtest]
    drift = pl.concat(judged) if judged else pl.DataFrame()
    return LiveTable(
        rows=_with_losses(past.rows, pairs),
        scores=_score_table(compared, confidence, seed),
        drift=drift,
        num_pending=past.rows["actual"].null_count(),
        warnings=(*past.notes, *warnings(drift, config.live_confidence)),
    )


@dataclass(frozen=True, kw_only=True)
class _Compared:
    live: Pair
    newest: Pair
    """Of its newest dates, which are judged."""
    backtest: Pair | None
    """The family's walk-forward before those; None when it is not in the run, or has no such row."""


def _pairs(predictions: pl.DataFrame) -> list[Pair]:
    return [] if predictions.is_empty() else pair_with_naive(predictions)


def _live_pairs(past: pl.DataFrame, predictions: pl.DataFrame) -> list[Pair]:
    """Each live family beside the naive forecast that today's walk-forward makes of the same rows."""
    live = past.drop_nulls("actual").with_columns(fold=pl.lit("live"), family=_LIVE + pl.col("family"))
    if live.is_empty():
        return []
    parts = [live]
    if not predictions.is_empty():
        parts.append(predictions.filter(family=NAIVE).with_columns(pl.col(DATE).cast(live.schema[DATE])))
    both = pl.concat(parts, how="diagonal_relaxed")
    found = [pair for pair in pair_with_naive(both) if pair.family.startswith(_LIVE)]
    renamed = [pair.named(pair.family.removeprefix(_LIVE)) for pair in found]
    return [pair for pair in renamed if not pair.rows.is_empty()]


def _compare(live: Pair, backtest: Pair | None, max_dates: int) -> _Compared:
    begin = live.rows[DATE].unique().sort()[-max_dates:][0]
    newest = live.on(live.rows.filter(pl.col(DATE) >= begin))
    if backtest is None or not backtest.usable:
        return _Compared(live=live, newest=newest, backtest=None)
    before = backtest.on(backtest.rows.filter(pl.col(DATE) < begin))
    return _Compared(live=live, newest=newest, backtest=None if before.rows.is_empty() else before)


def _with_losses(past: pl.DataFrame, pairs: Sequence[Pair]) -> pl.DataFrame:
    """The past forecasts with what each of them lost."""
    keys = ["target", "family", SERIES, DATE]
    scored = [row_measures(one).with_columns(target=pl.lit(one.target), family=pl.lit(one.family)) for one in pairs]
    if scored:
        past = past.join(pl.concat(scored), on=keys, how="left")
    else:
        past = past.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ROW_MEASURES)
    return past.sort(DATE, "horizon", "target", SERIES, "run_id")


def _score_table(compared: Sequence[_Compared], confidence: float, seed: int) -> pl.DataFrame:
    dates = {"first_date": pl.Datetime("us"), "last_date": pl.Datetime("us")}
    promised = {f"backtest_{name}": (MEASURES | INTERVAL)[name] for name in _BACKTEST}
    rows = (
        {
            **measures(one.live),
            **interval(one.live, confidence, seed),
            "first_date": one.live.rows[DATE].min(),
            "last_date": one.live.rows[DATE].max(),
            **_promised(one.backtest),
        }
        for one in compared
    )
    return table(rows, {**IDENTITY, **MEASURES, **INTERVAL, **dates, **promised})


def _promised(backtest: Pair | None) -> dict[str, Any]:
    if backtest is None:
        return {}
    found = {**measures(backtest), "n_dates": backtest.rows[DATE].n_unique()}
    return {f"backtest_{name}": found.get(name) for name in _BACKTEST}
