"""Where the skill is: the scores again, by regime, season, month, fold and series.

A row belongs to the regime, season and month of the date on which it was forecast, which are known then.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import polars as pl

from raytrain.data.diagnostics.config import DiagnosticsConfig
from raytrain.data.diagnostics.regimes import regime_columns
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.evaluation.config import EvaluationConfig
from raytrain.evaluation.scoring.measures import IDENTITY, INTERVAL, MEASURES, interval, measures
from raytrain.evaluation.scoring.pairs import ROW, Pair, pair_with_naive
from raytrain.evaluation.scoring.scores import PERFORMANCE, table
from raytrain.evaluation.scoring.strategy import Book, Market
from raytrain.features.categories import as_label, require_categories
from raytrain.features.weights import WeightsConfig

By = Literal["regime", "season", "month", "fold", "series"]
UNKNOWN = "unknown"
"""The regime of rows that name none: they are shown, not dropped."""

SCHEMA = {
    **IDENTITY,
    "by": pl.Enum(get_args(By)),
    "group": pl.String,
    **MEASURES,
    **INTERVAL,
    **{name: kind for name, kind in PERFORMANCE.items() if name not in ("num_periods", "skewness", "kurtosis")},
}


def regime_column(frame: Frame, weights: WeightsConfig | None, diagnostics: DiagnosticsConfig) -> str | None:
    """The column that names the regime: that of the weights, else the first category that the diagnostics look at."""
    if weights is not None:
        return weights.column
    return next((name for name in regime_columns(frame.table, diagnostics) if _is_category(frame, name)), None)


def _is_category(frame: Frame, name: str) -> bool:
    """Whether a column holds text or whole numbers: a measure of few values is no regime by name."""
    column = frame.table[name]
    return column.dtype == pl.String or not (column.is_finite() & (column % 1 != 0)).any()


def regimes_of(frame: Frame, column: str) -> pl.DataFrame:
    """The regime of every row of a frame: series_id, date, regime.

    Raises:
        ConfigError: the frame has no such column.
        DataError: it holds numbers that are not whole.
    """
    require_categories(frame, column, "the regime")
    return frame.table.select(SERIES, DATE, as_label(frame, column).fill_null(UNKNOWN).alias("regime"))


def breakdown(
    predictions: pl.DataFrame,
    bars: pl.DataFrame,
    periods_per_year: float,
    *,
    regimes: pl.DataFrame | None = None,
    config: EvaluationConfig | None = None,
    confidence: float = 0.9,
    seed: int = 42,
) -> pl.DataFrame:
    """The scores of `raytrain.evaluation.scoring.scores.score` by group, one row per family, target, `by` and `group`.

    The groups of one `by` part the rows of the whole: their `n` add up. `season` is the calendar quarter (`Q1` to
    `Q4`), `month` is `01` to `12`. The strategy of a group takes the positions of the group's rows and no others.

    Args:
        predictions: as for `score`.
        bars: as for `score`.
        periods_per_year: as for `score`.
        regimes: see `regimes_of`; without it there is no breakdown by regime.
        config: the strategy and its costs.
        confidence: of the interval of skill, two-sided, of each group by itself.
        seed: of the bootstrap behind it.

    Raises:
        DataError: as for `score`.
    """
    market = Market.make(bars, periods_per_year, config or EvaluationConfig())
    market.require_all(predictions)
    rows = (
        row
        for pair in pair_with_naive(predictions)
        if not pair.rows.is_empty()
        for row in _of_pair(pair, market, regimes, confidence, seed)
    )
    return table(rows, SCHEMA)


def group_metrics(groups: pl.DataFrame, family: str, target: str) -> dict[str, float]:
    """What a tracker is told of one recipe's groups: `mape_<regime>`, `sharpe_<regime>`, and the same of seasons.

    Letters that trackers refuse in a name become `_`.
    """
    if groups.is_empty():
        return {}
    mine = groups.filter(pl.col("by").is_in(["regime", "season"]), family=family, target=target)
    return {
        f"{name}_{re.sub(r'[^0-9A-Za-z_. /-]', '_', row['group'])}": row[name]
        for row in mine.iter_rows(named=True)
        for name in ("mape", "sharpe")
        if row[name] is not None
    }


def _of_pair(
    pair: Pair, market: Market, regimes: pl.DataFrame | None, confidence: float, seed: int
) -> Iterator[Mapping[str, Any]]:
    book = Book.make(pair, market) if pair.tradable else None
    for by, label in _labels(pair, regimes).items():
        for group in _groups(label, by):
            inside = label == group
            part = pair.on(pair.rows.filter(inside))
            traded = book.performance(inside.to_numpy()) if book else {}
            yield {"by": by, "group": group, **measures(part), **interval(part, confidence, seed), **traded}


def _labels(pair: Pair, regimes: pl.DataFrame | None) -> dict[By, pl.Series]:
    """By what -> the group of each row of the pair."""
    date = pair.rows["date"].dt
    found: dict[By, pl.Series] = {}
    if regimes is not None:
        joined = pair.rows.select(ROW).join(regimes, on=ROW, how="left", maintain_order="left")
        found["regime"] = joined["regime"].fill_null(UNKNOWN)
    found["season"] = pl.Series("season", [f"Q{quarter}" for quarter in date.quarter()], pl.String)
    found["month"] = date.strftime("%m")
    found["fold"] = pair.rows["fold"]
    found["series"] = pair.rows["series_id"]
    return found


def _groups(label: pl.Series, by: By) -> list[str]:
    """Folds in the order of their first date, anything else by name."""
    groups = label.unique(maintain_order=True)
    return (groups if by == "fold" else groups.sort()).to_list()
