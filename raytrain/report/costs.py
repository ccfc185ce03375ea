"""What each family cost."""

from typing import Any

import polars as pl

FAILED = ("failed", "timeout", "oom")


def costs(fits: pl.DataFrame) -> list[dict[str, Any]]:
    """A row per family, the dearest first.

    Each holds family, engine, lane, fits, ran, cached, failed, wall_s (median of one fit, seconds), cpu_s (sum of
    what this run paid), share (of the whole run's cpu_s; None when nothing ran), memory_bytes (highest peak) and
    threads (most per fit).
    """
    if fits.is_empty():
        return []
    status = pl.col("status")
    paid = pl.col("cpu_s").filter(pl.col("start_s").is_not_null()).sum()
    table = fits.group_by("family").agg(
        pl.col("engine").first(),
        pl.col("lane").first(),
        fits=pl.len(),
        ran=status.eq("ok").sum(),
        cached=status.eq("cached").sum(),
        failed=status.is_in(FAILED).sum(),
        wall_s=pl.col("wall_s").median(),
        cpu_s=paid,
        memory_bytes=pl.col("peak_memory_bytes").max(),
        threads=pl.col("threads").max(),
    )
    whole = table["cpu_s"].sum()
    share = pl.col("cpu_s") / whole if whole else pl.lit(None, dtype=pl.Float64)
    return table.with_columns(share=share).sort("cpu_s", "family", descending=[True, False]).to_dicts()
