"""One table of scores over every family and target, beside the naive forecast on the same rows.

Input tables:
    predictions: one row per family, target, fold, seed, series and date, with the columns
        family, target, kind (`return`, `price` or `threshold`), label (the horizon: `1w`), horizon (rows ahead),
        method (`log`, `simple` or `difference`), fold, seed, series_id, date (of the forecast), label_date, actual (the
        outcome in the target's unit; 0 or 1 for `threshold`; null while it is not known), close (the price at `date`),
        price_actual (the price at `label_date`), probability (of 1; `threshold` only), optionally position (-1 short to
        1 long; null where a family takes none) and one column per quantile level, `q0.1`, of the outcome in the
        target's unit. Quantiles are null for a threshold, and a point family has `q0.5` alone.
    bars: series_id, date, close: all bars of the test range, one row per series and date.

Output units: MAPE, coverage, skill and shares are fractions (0.03 is 3 %); RMSE, MAE, CRPS and pinball losses have the
unit of `actual`; Sharpe ratios are annualised. What cannot be computed is null.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.gain import Gain
from raytrain.evaluation.scoring.measures import IDENTITY, INTERVAL, MEASURES, Measures, interval, measures
from raytrain.evaluation.scoring.pairs import Pair, pair_with_naive
from raytrain.evaluation.scoring.strategy import Book, Market

PERFORMANCE = {
    "sharpe": pl.Float64,
    "sharpe_error": pl.Float64,
    "sharpe_long": pl.Float64,
    "sharpe_long_error": pl.Float64,
    "max_drawdown": pl.Float64,
    "max_drawdown_long": pl.Float64,
    "turnover": pl.Float64,
    "num_periods": pl.Int64,
    "skewness": pl.Float64,
    "kurtosis": pl.Float64,
}

EARNED = {
    "judged_by": pl.String,
    "net_return": pl.Float64,
    "net_return_low": pl.Float64,
    "net_return_high": pl.Float64,
}


def score(
    predictions: pl.DataFrame,
    bars: pl.DataFrame,
    periods_per_year: float,
    *,
    config: EvaluationConfig | None = None,
    confidence: float = 0.9,
    seed: int = 42,
) -> pl.DataFrame:
    """One row per family and target, ordered by horizon, target and family.

    Every number of a row is of the same rows: those on which family, naive and outcome are known (see
    `raytrain.evaluation.scoring.pairs.pair_with_naive`, also for a run without naive). A `naive_*` column is naive's
    measure on them, at the levels that both share.

    - n, n_dates, first_date, last_date: the rows and dates judged; dates are forecast origins.
    - loss, naive_loss, skill = 1 - loss / naive_loss: the pinball loss at the levels that the family and naive share,
      or the Brier score of a threshold; skill_low, skill_high: its interval at `confidence`.
    - judged_by: `skill`; or, of a family that takes positions, `net_return`, or `net_change` where the target is a
      difference. net_return, net_return_low, net_return_high: of such a family alone, what its positions earn in a year
      net of costs, not compounded, and its interval; a fraction of the capital, or in the unit of the price.
    - fold_wins: share of folds whose loss is below naive's, or whose net return is above 0 where that is judged.
    - mape, smape: of the price that the median leads to against price_actual. MAPE is null when a price is 0, since
      rows are never dropped, and `notes` says so. rmse, mae: of the median against actual.
    - pinball_loss, crps: at the family's own levels.
    - coverage: share of outcomes between the lowest and the highest level, beside coverage_nominal; null for one level.
    - directional_accuracy: share of medians with the right sign, over n_calls medians that are not 0.
    - sharpe, sharpe_error, max_drawdown, turnover: of the strategy that `config` names, whose positions are each held
      for `horizon` rows, overlapping forecasts sharing the capital, series weighted equally on each date; the error
      allows for dependent returns. sharpe_long, ...: always long, same rows, same costs. num_periods, skewness,
      kurtosis: of the strategy's returns.
    - brier, log_loss, roc_auc, precision (at the base rate) beside base_rate: threshold targets only, for which the
      measures of returns are null.

    Args:
        predictions: see the module.
        bars: see the module.
        periods_per_year: bars in a year: 252 on daily bars.
        config: the strategy and its costs.
        confidence: of the interval of skill, two-sided, between 0 and 1.
        seed: of the bootstrap behind it.

    Raises:
        DataError: a forecast has no bar, bars repeat a date, no median is forecast, two folds forecast one row, or an
            outcome is not finite.
    """
    market = Market.make(bars, periods_per_year, config or EvaluationConfig())
    market.require_all(predictions)
    date = predictions.schema["date"]
    schema = {**IDENTITY, **MEASURES, **INTERVAL, "fold_wins": pl.Float64, **EARNED, **PERFORMANCE}
    rows = (_row(pair, market, confidence, seed) for pair in pair_with_naive(predictions))
    return table(rows, {**schema, "first_date": date, "last_date": date})


def score_by_fold(predictions: pl.DataFrame) -> pl.DataFrame:
    """The measures of `score` that need no bars, one row per family, target and fold, in the folds' order."""
    return table(
        ({"fold": fold, **measures(part)} for pair in pair_with_naive(predictions) for fold, part in pair.by_fold()),
        {**IDENTITY, "fold": pl.String, **MEASURES},
    )


def notes(scores: pl.DataFrame) -> list[str]:
    """Why a measure that was asked for is not there, one line per target and reason, with the families."""
    if scores.is_empty():
        return []
    found = scores.drop_nulls("notes").group_by("target", "notes", maintain_order=True).agg("family")
    return [f"{target}: {text} ({', '.join(families)})" for target, text, families in found.iter_rows()]


def table(rows: Iterable[Measures], schema: Mapping[str, Any]) -> pl.DataFrame:
    """The rows as a table of all columns of the schema; what is missing or NaN is null."""
    complete = [{name: row.get(name) for name in schema} for row in rows]
    return pl.DataFrame(complete, schema=schema, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))


def _row(pair: Pair, market: Market, confidence: float, seed: int) -> Measures:
    book = Book.make(pair, market) if pair.tradable else None
    traded = {}
    if book:
        traded = book.performance() | (_earned(book, confidence, seed) if pair.judged_by != "skill" else {})
    return {
        **measures(pair),
        **interval(pair, confidence, seed),
        "judged_by": pair.judged_by,
        "fold_wins": _fold_wins(pair, book),
        "first_date": pair.rows["date"].min(),
        "last_date": pair.rows["date"].max(),
        **traded,
    }


def _earned(book: Book, confidence: float, seed: int) -> dict[str, float]:
    gain = Gain.of(book)
    low, high = gain.interval(confidence, seed)
    return {"net_return": gain.a_year, "net_return_low": low, "net_return_high": high}


def _fold_wins(pair: Pair, book: Book | None) -> float | None:
    """In how many of the folds the family is ahead of naive, in what it is judged by."""
    if pair.rows.is_empty() or not pair.usable or not pair.shared:
        return None
    fold = pair.rows["fold"]
    if book and pair.judged_by != "skill":
        lead = np.array([Gain.of(book, rows=(fold == one).to_numpy()).a_year for one in fold.unique()])
    else:
        by_row = pair.losses(pair.shared, "_naive") - pair.losses(pair.shared)
        lead = pl.DataFrame({"fold": fold, "lead": by_row}).group_by("fold").mean()["lead"].to_numpy()
    return float((lead > 0).mean())
