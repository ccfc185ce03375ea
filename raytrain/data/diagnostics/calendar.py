"""Rows that should be there and are not."""

import datetime
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data.diagnostics.config import DiagnosticsConfig
from raytrain.data.diagnostics.finding import Finding
from raytrain.data.diagnostics.prices import day
from raytrain.data.frame import DATE, SERIES

DAY_US = 86_400_000_000
IRREGULAR = 0.02
"""Share of steps longer than the usual one above which bars pause regularly, at night or over weekends."""
NAMED = 4
"""Series that a finding lists."""


@dataclass(frozen=True)
class _Gaps:
    """The holes of one series; equal for series with the same holes."""

    num: int
    total: float
    longest: float
    unit: str
    since: str
    """The row before the longest."""
    allowed: float


def gaps(table: pl.DataFrame, config: DiagnosticsConfig) -> list[Finding]:
    """Holes in the calendar of each series: business days, equal steps, or pauses longer than any weekend.

    The usual step is the median. Daily bars without weekends are counted in business days, and as many as holidays
    explain are allowed; equal steps may miss none. Series with the same holes share a finding.
    """
    found: dict[_Gaps, list[str]] = {}
    for (series,), rows in table.select(SERIES, DATE).group_by(SERIES, maintain_order=True):
        holes = _find(rows[DATE], config) if rows.height > 2 else None
        if holes is not None:
            found.setdefault(holes, []).append(str(series))
    return [_finding(holes, names) for holes, names in found.items()]


def _finding(holes: _Gaps, series: list[str]) -> Finding:
    noun = "1 gap" if holes.num == 1 else f"{holes.num} gaps"
    return Finding(
        check="gap",
        level="warning",
        series=", ".join(series[:NAMED]) + (f" and {len(series) - NAMED} more" if len(series) > NAMED else ""),
        date=holes.since,
        value=holes.longest,
        threshold=holes.allowed,
        message=f"{noun}, {holes.total:.0f} {holes.unit} in all, the longest {holes.longest:.0f} after {holes.since}; "
        "a horizon counted in rows spans more time there; fill it if the feed lost it",
    )


def _find(series_dates: pl.Series, config: DiagnosticsConfig) -> _Gaps | None:
    dates = series_dates.to_physical().to_numpy()
    steps = np.diff(dates)
    usual = float(np.median(steps))
    if usual == DAY_US and _weekend_share(dates) < 0.05:
        days = (dates // DAY_US).astype("datetime64[D]")
        between = np.busday_count(days[:-1] + 1, days[1:]).astype(np.float64)
        return _above(between, config.max_missing_days, "business days", series_dates)
    holes = steps > 1.5 * usual
    if usual < DAY_US and holes.mean() > IRREGULAR:
        return _above(steps / DAY_US, config.max_closed_days, "days", series_dates)
    return _above(np.where(holes, steps / usual - 1, 0.0).round(), 0.0, "rows", series_dates)


def _above(missing: NDArray[np.float64], allowed: float, unit: str, dates: pl.Series) -> _Gaps | None:
    too_long = missing[missing > allowed]
    if len(too_long) == 0:
        return None
    longest = int(missing.argmax())
    return _Gaps(len(too_long), float(too_long.sum()), float(missing[longest]), unit, day(dates[longest]), allowed)


def _weekend_share(dates: NDArray[np.int64]) -> float:
    # 1970-01-01 was a Thursday; Monday is 0.
    return float(((dates // DAY_US + 3) % 7 >= 5).mean())


def ended_series(table: pl.DataFrame) -> list[Finding]:
    """Series whose last row is more than 10 days and 5 of its usual steps before the newest date of all."""
    last = table.group_by(SERIES, maintain_order=True).agg(
        pl.col(DATE).max().alias("last"), pl.col(DATE).diff().median().alias("step")
    )
    newest = table[DATE].max()
    behind = pl.lit(newest) - pl.col("last")
    late = last.filter((behind > datetime.timedelta(days=10)) & (behind > 5 * pl.col("step")).fill_null(value=True))
    return [
        Finding(
            check="ended_series",
            level="warning",
            series=str(row[SERIES]),
            date=day(row["last"]),
            message=f"ends on {day(row['last'])}, the table on {day(newest)}: it is trained on and gets no forecast; "
            "update it, or drop it",
        )
        for row in late.iter_rows(named=True)
    ]
