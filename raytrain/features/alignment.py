"""Whether labels are what the prices say, computed a second time in another way."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from raytrain.data.diagnostics import Finding
from raytrain.data.diagnostics.prices import day
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.features.targets import TargetConfig

MAX_CHECKED = 2000
"""Rows that are computed again by the loop, evenly spread, beside both ends of every series."""
TOLERANCE = 1e-9


def target_alignment(frame: Frame, target: TargetConfig, labels: pl.DataFrame) -> list[Finding]:
    """Compare labels with a plain loop over single prices: shifted the right way, by the right number of rows.

    Args:
        frame: prices.
        target: what the labels should be.
        labels: y and label_date row for row beside the frame's table, as training will use them.
    """
    wrong: list[tuple[int, float | None]] = []
    y, label_dates, dates = labels["y"].to_list(), labels["label_date"].to_list(), frame.table[DATE].to_list()
    price, high = frame.table[frame.price].to_list(), frame.table[frame.high].to_list()
    checked = 0
    for start, end in _bounds(frame):
        for row in _rows_to_check(start, end, target.horizon, frame.table.height):
            checked += 1
            ahead = row + target.horizon
            known = ahead < end
            expected = _label(price, high, row, target) if known else None
            expected_date = dates[ahead] if known else None
            if not _equal(y[row], expected) or label_dates[row] != expected_date:
                wrong.append((row, expected))
    if not wrong:
        return []
    row, expected = wrong[0]
    return [
        Finding(
            check="target_alignment",
            level="error",
            column=target.name,
            series=str(frame.table[SERIES][row]),
            date=day(dates[row]),
            value=y[row] if y[row] is not None and math.isfinite(y[row]) else None,
            threshold=expected,
            message=f"{len(wrong)} of {checked} labels are not what the prices {target.horizon} rows later say: got "
            f"{y[row]} known on {label_dates[row]}, expected {expected}; the label is shifted, or spans two series",
        )
    ]


def _bounds(frame: Frame) -> list[tuple[int, int]]:
    ends = np.cumsum(frame.table[SERIES].rle().struct.field("len").to_numpy()).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _rows_to_check(start: int, end: int, horizon: int, rows: int) -> list[int]:
    stride = max(1, rows // MAX_CHECKED)
    return sorted({start, *range(start, end, stride), *range(max(start, end - horizon - 2), end)})


def _label(price: Sequence[float], high: Sequence[float], row: int, target: TargetConfig) -> float:
    now, later = price[row], price[row + target.horizon]
    if target.kind == "threshold":
        reached = any(high[row + step] >= now * (1 + target.threshold) for step in range(1, target.horizon + 1))
        return 1.0 if reached else 0.0
    if target.method == "log":
        return math.log(later) - math.log(now)
    return later / now - 1 if target.method == "simple" else later - now


def _equal(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
