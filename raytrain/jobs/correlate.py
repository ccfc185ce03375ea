"""What moves together: `python -m raytrain.jobs.correlate --config configs/correlations.yaml [--KEY VALUE ...]`.

Leaves pairs.parquet, regimes.parquet and correlations.html in `<store>/correlations`.
"""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from raytrain import data
from raytrain.config import Settings
from raytrain.data import DataConfig
from raytrain.features.correlations.cache import CorrelationCache
from raytrain.features.correlations.config import CorrelationsConfig
from raytrain.features.correlations.table import Correlations, correlate
from raytrain.jobs import _command, _terminal
from raytrain.machine.detect import detect
from raytrain.report.page import render_correlations

NUM_STRONGEST = 10


class CorrelateConfig(Settings):
    """What is read, what is compared, and where it is kept."""

    store: Path = Path("store")
    """Folder that keeps results; those of this job go to `correlations` inside."""
    data: DataConfig = DataConfig()
    correlations: CorrelationsConfig


def correlate_job(config: CorrelateConfig, options: argparse.Namespace) -> int:
    """Compare, keep, and print what is strongest."""
    frame = data.load(config.data)
    folder = config.store / "correlations"
    max_age = timedelta(days=config.correlations.max_age_days)
    cache = CorrelationCache(folder / "cache", max_age, datetime.now(UTC), threads=detect().pcores)
    found = correlate(frame, config.correlations, folder, cache)
    page = folder / "correlations.html"
    page.write_text(render_correlations(found), encoding="utf-8")
    _print(found, _terminal.make_console(), page)
    return _command.OK


def _print(found: Correlations, console: Console, page: Path) -> None:
    pairs = found.newest.pivot("window", index=["series_id", "left", "right", "sample"], values="correlation")
    if found.key_pairs:
        either_way = pl.concat([pairs, pairs.rename({"left": "right", "right": "left"})], how="diagonal")
        keys = pl.DataFrame(found.key_pairs, schema=["left", "right"], orient="row")
        keys = keys.join(either_way, on=["left", "right"], maintain_order="left_right")
        console.print(_pair_table("Key pairs", keys, found.windows))
    for days in found.windows:
        order = pairs.sort(pl.col(str(days)).abs(), descending=True, nulls_last=True).head(NUM_STRONGEST)
        console.print(_pair_table(f"Strongest in {days} days", order, found.windows))
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    console.print(
        f"{found.num_computed} correlations computed, {found.num_reused} taken from the cache", highlight=False
    )
    console.print(str(page), markup=False, highlight=False, soft_wrap=True)


def _pair_table(title: str, rows: pl.DataFrame, windows: tuple[int, ...]) -> Table:
    several = rows["series_id"].n_unique() > 1
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in (*(["series"] if several else []), "pair"):
        table.add_column(name, no_wrap=True)
    for name in (*(f"{days} days" for days in windows), "all rows"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        values = [row[str(days)] for days in windows] + [row["sample"]]
        numbers = ["-" if value is None else f"{value:+.2f}" for value in values]
        table.add_row(*([row["series_id"]] if several else []), f"{row['left']} / {row['right']}", *numbers)
    return table


if __name__ == "__main__":
    _command.main(CorrelateConfig, correlate_job, __doc__ or "")
