"""The correlations of a frame: all of them on disk, and what a reader looks at first as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raytrain.data.atomic import replacing
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.errors import DataError
from raytrain.features.correlations import long
from raytrain.features.correlations.cache import CorrelationCache, Part
from raytrain.features.correlations.changes import changes, require_columns, resolve
from raytrain.features.correlations.config import Change, CorrelationsConfig
from raytrain.features.correlations.plan import PairGroup, plan_pairs
from raytrain.features.correlations.regimes import by_regime, regime_of_rows
from raytrain.features.correlations.rolling import Windows
from raytrain.features.correlations.sample import sample_pairs
from raytrain.features.correlations.series import SeriesChanges

PAIRS, REGIMES = "pairs.parquet", "regimes.parquet"
_NEWEST = {
    SERIES: pl.String,
    "left_block": pl.String,
    "right_block": pl.String,
    "left": pl.String,
    "right": pl.String,
    "window": pl.Int64,
    "correlation": pl.Float64,
    "sample": pl.Float64,
}


@dataclass(frozen=True, kw_only=True)
class Correlations:
    """What was found; every date of every pair is in `<folder>/pairs.parquet`."""

    newest: pl.DataFrame
    """On each series' last row: series_id, left_block and right_block (null for a key pair outside the blocks), left,
    right, window (days), correlation (null when unknown), sample (the same over all rows)."""
    curves: pl.DataFrame
    """The key pairs by date: series_id, date, window, left, right, correlation."""
    regimes: pl.DataFrame
    """series_id, regime, left, right, rows (both known), correlation (null when unknown)."""
    blocks: Mapping[str, tuple[str, ...]]
    key_pairs: tuple[tuple[str, str], ...]
    windows: tuple[int, ...]
    """Days."""
    kinds: Mapping[str, Change]
    """Column -> what is compared: its `log` return, its `difference`, or itself (`none`)."""
    source: str
    rows: int
    first_date: str
    last_date: str
    num_reused: int
    """Correlations that were stored."""
    num_computed: int
    notes: tuple[str, ...]


def correlate(frame: Frame, config: CorrelationsConfig, folder: Path, cache: CorrelationCache) -> Correlations:
    """Compare what the config names; `pairs.parquet` and `regimes.parquet` in the folder are replaced.

    Raises:
        ConfigError, DataError: as `comparable`.
    """
    kinds, parts = comparable(frame, config)
    found = _Found(config)
    with replacing(folder / PAIRS) as file, pq.ParquetWriter(file, long.SCHEMA, compression="zstd") as writer:
        for part in parts:
            found.add(part, cache, writer)
    regimes = pl.concat(found.regimes)
    with replacing(folder / REGIMES) as file:
        regimes.write_parquet(file, compression="zstd")
    cache.drop_expired()
    newest = pl.DataFrame(found.newest, schema=_NEWEST, orient="row")
    newest = newest.with_columns(pl.col("correlation", "sample").fill_nan(None))
    return Correlations(
        newest=newest,
        curves=pl.concat(found.curves) if found.curves else pl.DataFrame(),
        regimes=regimes,
        blocks=config.blocks,
        key_pairs=config.key_pairs,
        windows=config.windows,
        kinds=kinds,
        source=frame.source,
        rows=frame.table.height,
        first_date=str(frame.table[DATE].min()),
        last_date=str(frame.table[DATE].max()),
        num_reused=found.num_reused,
        num_computed=found.num_computed,
        notes=_notes(parts, newest),
    )


def comparable(frame: Frame, config: CorrelationsConfig) -> tuple[dict[str, Change], list[SeriesChanges]]:
    """What is compared of each column, and the changes of each series; nothing is written.

    Raises:
        ConfigError: a name is no column of numbers, or the regime's column is not one of regimes.
        DataError: a column is infinite, or a window never holds enough rows.
    """
    require_columns(config.columns, frame)
    kinds = resolve(config.columns, frame, config.changes, config.default_change)
    table = changes(frame, kinds).with_columns(regime_of_rows(frame, config.regime)).collect()
    parts = [SeriesChanges.of(part, config.columns) for part in table.partition_by(SERIES, maintain_order=True)]
    _require_rows(parts, config, frame.source)
    return kinds, parts


@dataclass
class _Found:
    """What is kept of each series while all of it goes to disk."""

    config: CorrelationsConfig
    newest: list[tuple[object, ...]] = field(default_factory=list)
    curves: list[pl.DataFrame] = field(default_factory=list)
    regimes: list[pl.DataFrame] = field(default_factory=list)
    num_reused: int = 0
    num_computed: int = 0

    def add(self, part: SeriesChanges, cache: CorrelationCache, writer: pq.ParquetWriter) -> None:
        """Compare one series; no more than one group of pairs is in memory."""
        groups = plan_pairs(self.config, part)
        for group in groups:
            asked = Part(part, part.indices(group.pairs), self.config.windows, self.config.min_rows)
            stored = cache.fill(asked)
            per_row = len(self.config.windows) * len(group.pairs)
            self.num_reused += per_row * stored.num_reused
            self.num_computed += per_row * (len(part.dates) - stored.num_reused)
            self._keep(part, group, asked, stored.correlations)
            for batch in long.long_tables(
                part.series, part.dates, self.config.windows, group.pairs, stored.correlations
            ):
                writer.write_table(batch)
        self.regimes.append(by_regime(part, groups, self.config.min_rows))

    def _keep(self, part: SeriesChanges, group: PairGroup, asked: Part, found: NDArray[np.float32]) -> None:
        sample, _ = sample_pairs(part.values, asked.pairs, self.config.min_rows)
        keys = {frozenset(pair): pair for pair in self.config.key_pairs}
        for number, pair in enumerate(group.pairs):
            for window, days in enumerate(self.config.windows):
                about = (part.series, group.left_block, group.right_block, *pair, days)
                self.newest.append((*about, float(found[window, number, -1]), float(sample[number])))
            if key := keys.get(frozenset(pair)):
                here = found[:, number : number + 1]
                tables = long.long_tables(part.series, part.dates, self.config.windows, (key,), here)
                self.curves += [pl.DataFrame(table) for table in tables]


def _require_rows(parts: list[SeriesChanges], config: CorrelationsConfig, source: str) -> None:
    """A window that never holds enough rows would only ever be unknown."""
    most = np.max([Windows.of_days(part.dates, config.windows).most_rows for part in parts], axis=0)
    for days, rows in zip(config.windows, most.tolist(), strict=True):
        if rows < config.min_rows:
            raise DataError(
                f"a window must hold at least {config.min_rows} rows (correlations.min_rows), {days} days hold at most "
                f"{rows} in {source}; lengthen it in correlations.windows"
            )


def _notes(parts: list[SeriesChanges], newest: pl.DataFrame) -> tuple[str, ...]:
    constant = sorted({name for part in parts for name in part.constant})
    unknown = newest["correlation"].null_count()
    notes = []
    if constant:
        notes.append(f"columns that never change have no correlation: {', '.join(constant)}")
    if unknown:
        notes.append(f"{unknown} of {newest.height} newest correlations are unknown: too few rows, or no movement")
    return tuple(notes)
