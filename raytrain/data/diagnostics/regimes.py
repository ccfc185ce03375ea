"""What the price does after each regime, and how many rows there are to learn it from."""

import math
from collections.abc import Collection, Sequence

import polars as pl

from raytrain.data.diagnostics.columns import level_of
from raytrain.data.diagnostics.config import DiagnosticsConfig
from raytrain.data.diagnostics.finding import Finding, RegimeReturns
from raytrain.data.diagnostics.prices import one_step_returns
from raytrain.data.frame import SERIES, Frame
from raytrain.errors import ConfigError, did_you_mean

MAX_REGIMES = 20
"""Distinct values above which a column is a measure of the regime, not its name."""


def regime_columns(table: pl.DataFrame, config: DiagnosticsConfig) -> list[str]:
    """The columns that name regimes.

    Raises:
        ConfigError: the config names one that is not there.
    """
    for name in config.regimes:
        if name not in table.columns:
            raise ConfigError(
                f"diagnostics.regimes must name columns, got `{name}`; {did_you_mean(name, table.columns)}"
            )
    named = (name for name in table.columns if "regime" in name.lower())
    return list(config.regimes) or [name for name in named if table[name].n_unique() <= MAX_REGIMES]


def regime_returns(frame: Frame, columns: Sequence[str]) -> list[RegimeReturns]:
    """Mean, deviation and Sharpe ratio of the next row's return, by regime, a year.

    The next one, because a regime is often made of the row's own return, and only what comes after can be forecast.

    Args:
        frame: prices and regimes; several series are taken together.
        columns: columns of text or numbers; rows without a regime are left out.
    """
    returns = one_step_returns(frame.table, frame.price)
    after = pl.DataFrame([frame.table[SERIES], returns]).select(pl.col("move").shift(-1).over(SERIES)).to_series()
    found = []
    for name in columns:
        # 3.0 is written 3, and an unknown number is no regime.
        text = frame.table[name].cast(pl.String).replace("NaN", None)
        regime = text.str.strip_suffix(".0").alias("regime")
        known = pl.DataFrame([regime, after]).drop_nulls()
        grouped = known.group_by("regime").agg(
            rows=pl.len(), mean=pl.col("move").mean(), deviation=pl.col("move").std()
        )
        found += [_a_year(name, row, known.height, frame.periods_per_year) for row in grouped.sort("regime").to_dicts()]
    return found


def _a_year(column: str, row: dict[str, float], rows: int, periods: float) -> RegimeReturns:
    mean, deviation = row["mean"] * periods, (row["deviation"] or 0.0) * math.sqrt(periods)
    return RegimeReturns(
        column=column,
        regime=str(row["regime"]),
        rows=int(row["rows"]),
        share=row["rows"] / rows,
        mean=mean,
        deviation=deviation,
        sharpe=mean / deviation if deviation else None,
    )


def rare_regimes(regimes: Sequence[RegimeReturns], inputs: Collection[str], min_rows: int) -> list[Finding]:
    """Regimes on fewer than `min_rows` rows."""
    return [
        Finding(
            check="rare_regime",
            level=level_of(one.column, inputs),
            column=one.column,
            value=one.rows,
            threshold=min_rows,
            message=f"regime `{one.regime}` has {one.rows} rows; merge it with a neighbour, or bring more rows: a "
            "weight makes few rows louder, not more certain",
        )
        for one in regimes
        if one.rows < min_rows
    ]
