"""Predictions of many fits as one table, beside what really happened."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.features.targets import TargetConfig, ahead_to_price, build_target
from raytrain.work.inputs import POSITION, PROBABILITY, quantile_column
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore


def collect(
    frame: Frame, targets: Sequence[TargetConfig], specs: Iterable[FitSpec], store: ResultStore
) -> pl.DataFrame:
    """The test rows of all finished fits.

    Returns:
        A row per fit and test row: key, family, target, kind, label, horizon, method, fold, seed, series_id, date,
        label_date, actual (in the target's own unit; null while unknown), close, price_actual, a column per quantile,
        `probability` and `position`.
    """
    by_target: dict[str, list[FitSpec]] = {}
    for spec in specs:
        for name in spec.target_names:
            by_target.setdefault(name, []).append(spec)
    tables = []
    for target in targets:
        fits = [_of_fit(spec, target.name, store) for spec in by_target.get(target.name, [])]
        if fits:
            rows = pl.concat(fits, how="diagonal")
            tables.append(rows.join(outcomes(frame, target), on=[SERIES, DATE], how="left", maintain_order="left"))
    return pl.concat(tables, how="diagonal") if tables else pl.DataFrame()


def _of_fit(spec: FitSpec, target: str, store: ResultStore) -> pl.DataFrame:
    names = {"key": spec.key, "family": spec.family, "fold": spec.fold.name}
    predictions = store.predictions(spec.key).filter(pl.col("target") == target)
    expected = (*map(quantile_column, spec.quantiles), PROBABILITY, POSITION)
    absent = [name for name in expected if name not in predictions.columns]
    return predictions.with_columns(
        *(pl.lit(value).alias(name) for name, value in names.items()),
        pl.lit(spec.seed).alias("seed"),
        *(pl.lit(None, pl.Float32).alias(name) for name in absent),
    )


def outcomes(frame: Frame, target: TargetConfig) -> pl.DataFrame:
    """What happened after each row of a frame, and what the target is called; null while it is not known."""
    labels = build_target(frame, target)
    return frame.table.select(
        SERIES,
        DATE,
        pl.lit(target.kind).alias("kind"),
        pl.lit(target.label).alias("label"),
        pl.lit(target.horizon).alias("horizon"),
        pl.lit(target.method).alias("method"),
        pl.col(frame.price).alias("close"),
        labels["y"].alias("actual"),
        labels["label_date"],
        labels["price_ahead"].alias("price_actual"),
    )


def as_forecast(predictions: pl.DataFrame, verdicts: Mapping[tuple[str, str], str]) -> pl.DataFrame:
    """Predictions of the newest rows as a forecast in returns and in prices; seeds are averaged.

    Args:
        predictions: from `collect`, of fits on all known rows.
        verdicts: (target, family) -> the gate's decision on that recipe.

    Returns:
        One row per target and series, averaged over the seeds: target, label, horizon, family, verdict, series_id,
        date (origin), close, the quantile columns, the same as prices (`price_q0.5`), probability.
    """
    if predictions.is_empty():
        return predictions
    quantiles = [name for name in predictions.columns if name.startswith("q") and name[1:2].isdigit()]
    row = ["target", "label", "horizon", "family", "method", SERIES, DATE, "close"]
    seeds_averaged = predictions.group_by(row).agg(pl.col(*quantiles, PROBABILITY).mean())
    parts = []
    for (target, family, method), rows in seeds_averaged.group_by("target", "family", "method"):
        prices = [ahead_to_price(pl.col("close"), pl.col(name), method).alias(f"price_{name}") for name in quantiles]
        parts.append(rows.with_columns(*prices, pl.lit(verdicts[target, family]).alias("verdict")))
    names = ["target", "label", "horizon", "family", "verdict", SERIES, DATE, "close", *quantiles]
    return (
        pl.concat(parts)
        .select(*names, *(f"price_{name}" for name in quantiles), PROBABILITY)
        .sort("horizon", "target", SERIES)
    )
