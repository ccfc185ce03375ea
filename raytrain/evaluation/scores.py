"""What the forecasts of a run were worth, per family and target, and per fold.

Input, a long table `predictions` with one row per family, target, fold, seed, series and date:

| column | meaning |
|---|---|
| family, target | names: `lightgbm`, `return_1w` |
| kind | `return`, `price` or `threshold` |
| label, horizon | the horizon as people say it (`1w`) and in rows |
| method | what is forecast: `log` or `simple` return, or `difference` of the price |
| fold, seed | the walk-forward step (text) and the seed (int) |
| series_id, date, label_date | the series, the origin of the forecast, the date it is for |
| actual | forward change of the price by `method`, or 0/1 for a threshold; null when not yet known |
| close, price_actual | price at `date` and at `label_date`; the latter null when not yet known |
| q0.1, q0.5, ... | predicted change at each level; a point family fills q0.5 only; null for a threshold |
| probability | threshold targets only |
| position | in [-1, 1]; only of families that learn what to hold; may be absent |

and `bars` (series_id, date, close): every bar of the test range, one row per series and date.

Output units: MAPE, coverage, skill and shares are fractions (0.03 is 3 %); RMSE, MAE and pinball losses have the unit
of `actual`; Sharpe ratios are annualised. What cannot be computed is null.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from raytrain import metrics
from raytrain.errors import DataError
from raytrain.evaluation.pairs import MEDIAN, POSITION, ROW, Pair, levels, pair_with_naive
from raytrain.evaluation.significance import skill_interval

_IDENTITY = {"family": pl.String, "target": pl.String, "kind": pl.String, "label": pl.String, "horizon": pl.Int64}
_MEASURES = {
    "n": pl.Int64,
    "loss": pl.Float64,
    "naive_loss": pl.Float64,
    "skill": pl.Float64,
    "mape": pl.Float64,
    "naive_mape": pl.Float64,
    "rmse": pl.Float64,
    "mae": pl.Float64,
    "pinball_loss": pl.Float64,
    "naive_pinball_loss": pl.Float64,
    "coverage": pl.Float64,
    "coverage_nominal": pl.Float64,
    "directional_accuracy": pl.Float64,
    "n_calls": pl.Int64,
    "brier": pl.Float64,
    "log_loss": pl.Float64,
    "roc_auc": pl.Float64,
}
_OVERALL = {
    "n_dates": pl.Int64,
    "skill_low": pl.Float64,
    "skill_high": pl.Float64,
    "fold_wins": pl.Float64,
    "sharpe": pl.Float64,
    "sharpe_long": pl.Float64,
}

Measures = Mapping[str, Any]


def score(
    predictions: pl.DataFrame,
    bars: pl.DataFrame,
    periods_per_year: float,
    *,
    cost_bp: float = 0.0,
    confidence: float = 0.9,
    seed: int = 42,
) -> pl.DataFrame:
    """One row per family and target, ordered by horizon, target and family.

    Every number of a row is of the same rows: those on which family, naive and outcome are known (see
    `raytrain.evaluation.pairs.pair_with_naive`, also for a run without naive).

    - n, n_dates, first_date, last_date: the rows and dates judged; dates are forecast origins.
    - loss, naive_loss, skill = 1 - loss / naive_loss: the pinball loss at the levels that the family and naive share,
      or the Brier score of a threshold; skill_low, skill_high: its interval at `confidence`.
    - fold_wins: share of folds whose loss is below naive's.
    - mape, naive_mape: of the price that the median leads to against price_actual; null when a price is 0, since rows
      are never dropped. rmse, mae: of the median against actual.
    - pinball_loss: at the family's own levels. naive_pinball_loss: at the shared ones.
    - coverage: share of outcomes between the lowest and the highest level, beside coverage_nominal; null for one level.
    - directional_accuracy: share of medians with the right sign, over n_calls medians that are not 0.
    - sharpe: hold the sign of each median, or the position of a family that takes positions, for `horizon` rows,
      overlapping forecasts sharing the capital, series weighted equally on each date. Simple returns are earned, which
      add up over positions as log returns do not; for `difference`, where prices may be 0, changes of the price.
      sharpe_long: always long, same dates, same costs.
    - brier, log_loss, roc_auc: threshold targets only, for which the measures of returns are null.

    Args:
        predictions: see the module.
        bars: see the module.
        periods_per_year: bars in a year: 252 on daily bars.
        cost_bp: cost of trading the whole capital once, in basis points; of a price unit for `difference`.
        confidence: of the interval of skill, two-sided, between 0 and 1.
        seed: of the bootstrap behind it.

    Raises:
        DataError: a forecast has no bar, bars repeat a date, no median is forecast, two folds forecast one row, or an
            outcome is not finite.
    """
    _check_bars(predictions, bars)
    changes = _one_row_changes(bars)
    dates = {"first_date": predictions.schema["date"], "last_date": predictions.schema["date"]}
    return _table(
        (
            {
                **_measures(pair),
                **_spread(pair, confidence, seed),
                **_strategies(pair, changes, periods_per_year, cost_bp),
            }
            for pair in pair_with_naive(predictions)
        ),
        {**_IDENTITY, **_MEASURES, **_OVERALL, **dates},
    )


def score_by_fold(predictions: pl.DataFrame) -> pl.DataFrame:
    """The measures of `score` that need no bars, one row per family, target and fold, in the folds' order."""
    return _table(
        ({"fold": fold, **_measures(part)} for pair in pair_with_naive(predictions) for fold, part in pair.by_fold()),
        {**_IDENTITY, "fold": pl.String, **_MEASURES},
    )


def _table(rows: Iterable[Measures], schema: Mapping[str, Any]) -> pl.DataFrame:
    complete = [{name: row.get(name) for name in schema} for row in rows]
    return pl.DataFrame(complete, schema=schema, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))


def _measures(pair: Pair) -> dict[str, Any]:
    found = {
        "family": pair.family,
        "target": pair.target,
        "kind": pair.kind,
        "label": pair.label,
        "horizon": pair.horizon,
        "n": len(pair.rows),
    }
    if pair.rows.is_empty() or not pair.usable:
        return found
    specific = _of_probability if pair.kind == "threshold" else _of_return
    return {**found, **_skill(pair), **specific(pair)}


def _skill(pair: Pair) -> dict[str, float | None]:
    if not pair.shared:
        return {}
    loss = float(pair.losses(pair.shared).mean())
    naive_loss = float(pair.losses(pair.shared, "_naive").mean())
    compared = {"loss": loss, "naive_loss": naive_loss, "skill": 1 - loss / naive_loss if naive_loss > 0 else None}
    return compared if pair.kind == "threshold" else {**compared, "naive_pinball_loss": naive_loss}


def _of_return(pair: Pair) -> dict[str, Any]:
    actual, median = pair.column("actual"), pair.column(MEDIAN)
    accuracy, num_calls = metrics.directional_accuracy(actual, median)
    return {
        "mape": _price_mape(pair),
        "naive_mape": _price_mape(pair, "_naive") if MEDIAN in pair.shared else None,
        "rmse": metrics.rmse(actual, median),
        "mae": metrics.mae(actual, median),
        "pinball_loss": float(pair.losses(pair.forecasts).mean()),
        "directional_accuracy": accuracy,
        "n_calls": num_calls,
        **_coverage(pair),
    }


def _price_mape(pair: Pair, suffix: str = "") -> float | None:
    price = pair.column("price_actual")
    return None if (price == 0).any() else metrics.mape(price, pair.column("price_forecast" + suffix))


def _coverage(pair: Pair) -> dict[str, float]:
    if len(pair.forecasts) < 2:
        return {}
    low, high = pair.forecasts[0], pair.forecasts[-1]
    low_level, high_level = levels([low, high])
    return {
        "coverage": metrics.coverage(pair.column("actual"), pair.column(low), pair.column(high)),
        "coverage_nominal": high_level - low_level,
    }


def _of_probability(pair: Pair) -> dict[str, float]:
    actual, probability = pair.column("actual"), pair.column("probability")
    return {
        "brier": metrics.brier(actual, probability),
        "log_loss": metrics.log_loss(actual, probability),
        "roc_auc": metrics.roc_auc(actual, probability),
    }


def _spread(pair: Pair, confidence: float, seed: int) -> dict[str, Any]:
    """How sure the skill is, over what dates, and in how many folds it shows."""
    dates = pair.rows["date"]
    found = {"n_dates": dates.n_unique(), "first_date": dates.min(), "last_date": dates.max()}
    if pair.rows.is_empty() or not pair.usable or not pair.shared:
        return found
    loss, naive_loss = pair.losses(pair.shared), pair.losses(pair.shared, "_naive")
    day = dates.to_physical().to_numpy()
    low, high = skill_interval(loss, naive_loss, day, pair.horizon, level=confidence, seed=seed)
    by_fold = pl.DataFrame({"fold": pair.rows["fold"], "lead": naive_loss - loss}).group_by("fold").mean()
    wins = float((by_fold["lead"].to_numpy() > 0).mean())
    return {**found, "skill_low": low, "skill_high": high, "fold_wins": wins}


def _one_row_changes(bars: pl.DataFrame) -> pl.DataFrame:
    """Each bar's simple return and change of the price since the bar before it in its series; null on the first."""
    change, before = pl.col("close").diff().over("series_id"), pl.col("close").shift(1).over("series_id")
    ordered = bars.sort(ROW).with_columns(pl.col("close").cast(pl.Float64))
    return ordered.select(*ROW, change=change, simple=change / before)


def _strategies(pair: Pair, changes: pl.DataFrame, periods_per_year: float, cost_bp: float) -> dict[str, float]:
    if pair.kind == "threshold" or pair.rows.is_empty() or not pair.usable:
        return {}
    held = pl.col(MEDIAN).sign()
    if POSITION in pair.rows.columns:
        held = pl.coalesce(POSITION, held)
    positions = pair.rows.select(*ROW, held=held, long=pl.lit(1.0))
    earns = pl.col("change" if pair.method == "difference" else "simple").alias("earns")
    book = changes.select(*ROW, earns).join(positions, on=ROW, how="left", maintain_order="left")
    return {
        "sharpe": _sharpe(book, "held", pair.horizon, periods_per_year, cost_bp),
        "sharpe_long": _sharpe(book, "long", pair.horizon, periods_per_year, cost_bp),
    }


def _sharpe(book: pl.DataFrame, position: str, horizon: int, periods_per_year: float, cost_bp: float) -> float:
    earned = [
        metrics.overlapping_portfolio(
            series[position].fill_null(np.nan).to_numpy(),
            series["earns"].fill_null(np.nan).to_numpy(),
            horizon,
            cost_bp,
        )
        for series in book.partition_by("series_id", maintain_order=True)
    ]
    daily = (
        book.select("date", earned=pl.Series(np.concatenate(earned)))
        .filter(pl.col("earned").is_not_nan())
        .group_by("date", maintain_order=True)
        .agg(pl.col("earned").mean())
    )
    return metrics.sharpe(daily["earned"].to_numpy(), periods_per_year) if len(daily) else float("nan")


def _check_bars(predictions: pl.DataFrame, bars: pl.DataFrame) -> None:
    if bars.select(ROW).is_duplicated().any():
        raise DataError("bars must have one row per series and date, got some twice; drop the repeated rows")
    missing = predictions.join(bars, on=ROW, how="anti").sort(ROW)
    if not missing.is_empty():
        row = missing.row(0, named=True)
        raise DataError(
            f"every forecast needs the bar of its date, got none for {row['series_id']} at {row['date']} "
            f"({len(missing)} rows in all); pass all bars of the test range"
        )
