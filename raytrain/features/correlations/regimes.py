"""Correlations within each regime, over all of its rows."""

import polars as pl

from raytrain.data.frame import SERIES, Frame
from raytrain.errors import ConfigError, did_you_mean
from raytrain.features.correlations.plan import PairGroup
from raytrain.features.correlations.sample import sample_pairs
from raytrain.features.correlations.series import SeriesChanges

MAX_REGIMES = 20
SCHEMA = {
    SERIES: pl.String,
    "regime": pl.String,
    "left": pl.String,
    "right": pl.String,
    "rows": pl.Int64,
    "correlation": pl.Float64,
}


def regime_of_rows(frame: Frame, column: str | None) -> pl.Series:
    """(rows,) the name of each row's regime; null where it is unknown, everywhere when no column is given.

    Raises:
        ConfigError: no such column, or it has too many values to be one of regimes.
    """
    if column is None:
        return pl.Series("regime", [None] * frame.table.height, pl.String)
    known = [*frame.texts, *frame.columns]
    if column not in known:
        raise ConfigError(
            f"correlations.regime must name a column of {frame.source}, got `{column}`; {did_you_mean(column, known)}"
        )
    values = frame.table[column]
    regimes = (values.fill_nan(None) if column in frame.columns else values).cast(pl.String).alias("regime")
    if (count := regimes.drop_nulls().n_unique()) > MAX_REGIMES:
        raise ConfigError(
            f"a column of regimes has at most {MAX_REGIMES} values, `{column}` of {frame.source} has {count}; "
            "name another in correlations.regime"
        )
    return regimes


def by_regime(part: SeriesChanges, groups: list[PairGroup], min_rows: int) -> pl.DataFrame:
    """Every compared pair in every regime of the series; a correlation that is unknown is null."""
    rows: list[tuple[object, ...]] = []
    for regime in part.regimes.drop_nulls().unique().sort():
        inside = part.rows((part.regimes == regime).fill_null(value=False).to_numpy())
        for group in groups:
            found, counts = sample_pairs(inside.values, inside.indices(group.pairs), min_rows)
            named = zip(group.pairs, counts.tolist(), found.tolist(), strict=True)
            rows += [(part.series, regime, left, right, count, value) for (left, right), count, value in named]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(pl.col("correlation").fill_nan(None))
