"""The measures of one family on one target, on the rows of a pair, beside naive's."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from raytrain import metrics
from raytrain.evaluation.scoring.pairs import MEDIAN, PROBABILITY, Pair, levels
from raytrain.evaluation.scoring.significance import skill_interval

Measures = Mapping[str, Any]

IDENTITY = {"family": pl.String, "target": pl.String, "kind": pl.String, "label": pl.String, "horizon": pl.Int64}
_OF_PRICES = ("mape", "smape")
_OF_MEDIANS = ("rmse", "mae", "directional_accuracy", "n_calls")
_OF_QUANTILES = ("crps", "coverage")
_OF_LABELS = ("brier", "log_loss", "roc_auc", "precision")
_BESIDE = {f"{name}": pl.Float64 for name in (*_OF_PRICES, *_OF_MEDIANS, *_OF_QUANTILES, *_OF_LABELS)}
MEASURES = {
    "n": pl.Int64,
    "loss": pl.Float64,
    "naive_loss": pl.Float64,
    "skill": pl.Float64,
    "pinball_loss": pl.Float64,
    "naive_pinball_loss": pl.Float64,
    **_BESIDE,
    **{f"naive_{name}": kind for name, kind in _BESIDE.items()},
    "n_calls": pl.Int64,
    "naive_n_calls": pl.Int64,
    "coverage_nominal": pl.Float64,
    "naive_coverage_nominal": pl.Float64,
    "base_rate": pl.Float64,
    "notes": pl.String,
}
"""Name -> type of what `measures` gives."""
ROW_MEASURES = ("loss", "naive_loss", "inside", "right")
"""What `row_measures` gives beside series and date."""
INTERVAL = {"n_dates": pl.Int64, "skill_low": pl.Float64, "skill_high": pl.Float64}
"""Name -> type of what `interval` gives."""


def identity(pair: Pair) -> dict[str, Any]:
    """Whose forecasts of what these are."""
    return {name: getattr(pair, name) for name in IDENTITY}


def measures(pair: Pair) -> dict[str, Any]:
    """Every measure that needs no bars, of the family and, with the prefix `naive_`, of naive on the same rows.

    What cannot be computed is absent, and `notes` says why where that may surprise.
    """
    found = {**identity(pair), "n": len(pair.rows)}
    if pair.rows.is_empty():
        return found
    if not pair.usable:
        wrong = "a probability outside 0 to 1" if pair.kind == "threshold" else "a forecast that is NaN or infinite"
        return {**found, "notes": f"{wrong}: nothing can be measured"}
    both = _of_probability if pair.kind == "threshold" else _of_return
    mine = both(pair, pair.forecasts, "")
    theirs = both(pair, pair.shared, "_naive") if pair.shared else {}
    own = _base_rate(pair) if pair.kind == "threshold" else {"pinball_loss": float(pair.losses(pair.forecasts).mean())}
    beside = {f"naive_{name}": value for name, value in theirs.items()}
    return {**found, **_skill(pair), **own, **mine, **beside, "notes": _notes(pair)}


def interval(pair: Pair, confidence: float, seed: int) -> dict[str, Any]:
    """How many dates are judged, and how sure the skill on them is."""
    found = {"n_dates": pair.rows["date"].n_unique()}
    if pair.rows.is_empty() or not pair.usable or not pair.shared:
        return found
    day = pair.rows["date"].to_physical().to_numpy()
    loss, naive_loss = pair.losses(pair.shared), pair.losses(pair.shared, "_naive")
    low, high = skill_interval(loss, naive_loss, day, pair.horizon, level=confidence, seed=seed)
    return {**found, "skill_low": low, "skill_high": high}


def row_measures(pair: Pair) -> pl.DataFrame:
    """Row by row: series_id, date, the losses at the shared levels, and as 0 or 1 whether the outcome was inside the
    band and the median on its side; null where there is no such thing."""
    nothing = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(pair.rows))
    found = dict.fromkeys(ROW_MEASURES, nothing)
    if pair.usable and pair.shared:
        losses = pair.losses(pair.shared), pair.losses(pair.shared, "_naive")
        found |= {name: pl.Series(values) for name, values in zip(("loss", "naive_loss"), losses, strict=True)}
    if pair.usable and pair.kind != "threshold":
        actual, median = pair.rows["actual"].cast(pl.Float64), pair.rows[MEDIAN].cast(pl.Float64)
        right = (actual.sign() == median.sign()).cast(pl.Float64)
        found["right"] = pl.select(pl.when(median != 0).then(right)).to_series()
        if len(pair.forecasts) > 1:
            low, high = pair.rows[pair.forecasts[0]], pair.rows[pair.forecasts[-1]]
            found["inside"] = actual.is_between(low, high).cast(pl.Float64)
    return pair.rows.select("series_id", "date").with_columns(**found)


def _skill(pair: Pair) -> dict[str, float | None]:
    if not pair.shared:
        return {}
    loss = float(pair.losses(pair.shared).mean())
    naive_loss = float(pair.losses(pair.shared, "_naive").mean())
    compared = {"loss": loss, "naive_loss": naive_loss, "skill": 1 - loss / naive_loss if naive_loss > 0 else None}
    return compared if pair.kind == "threshold" else {**compared, "naive_pinball_loss": naive_loss}


def _of_return(pair: Pair, columns: Sequence[str], suffix: str) -> dict[str, Any]:
    if MEDIAN not in columns:
        return {}
    actual, median = pair.column("actual"), pair.column(MEDIAN + suffix)
    accuracy, num_calls = metrics.directional_accuracy(actual, median)
    return {
        **_of_price(pair, suffix),
        "rmse": metrics.rmse(actual, median),
        "mae": metrics.mae(actual, median),
        "directional_accuracy": accuracy,
        "n_calls": num_calls,
        "crps": metrics.crps(actual, pair.matrix(columns, suffix), levels(columns)),
        **_coverage(pair, columns, suffix),
    }


def _of_price(pair: Pair, suffix: str) -> dict[str, float]:
    actual, forecast = pair.column("price_actual"), pair.column("price_forecast" + suffix)
    found = {"smape": metrics.smape(actual, forecast)}
    return found if (actual == 0).any() else {**found, "mape": metrics.mape(actual, forecast)}


def _coverage(pair: Pair, columns: Sequence[str], suffix: str) -> dict[str, float]:
    if len(columns) < 2:
        return {}
    low, high = (pair.column(name + suffix) for name in (columns[0], columns[-1]))
    low_level, high_level = levels([columns[0], columns[-1]])
    return {
        "coverage": metrics.coverage(pair.column("actual"), low, high),
        "coverage_nominal": high_level - low_level,
    }


def _of_probability(pair: Pair, _: Sequence[str], suffix: str) -> dict[str, float]:
    actual, probability = pair.column("actual"), pair.column(PROBABILITY + suffix)
    return {
        "brier": metrics.brier(actual, probability),
        "log_loss": metrics.log_loss(actual, probability),
        "roc_auc": metrics.roc_auc(actual, probability),
        "precision": metrics.precision_at_base_rate(actual, probability),
    }


def _base_rate(pair: Pair) -> dict[str, float]:
    return {"base_rate": float(pair.column("actual").mean())}


def _notes(pair: Pair) -> str | None:
    if pair.kind == "threshold":
        rate = pair.column("actual").mean()
        return "only one class is there: no ROC AUC" if rate in (0, 1) else None
    num_zeros = int((pair.column("price_actual") == 0).sum())
    return f"{num_zeros} of {len(pair.rows)} prices are 0: no MAPE, and no row is dropped" if num_zeros else None
