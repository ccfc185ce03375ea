"""Columns that say little: unknown, ended, constant or twice there."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.data.diagnostics.finding import Finding, Level

Columns = Mapping[str, NDArray[np.floating[Any]]]
"""Name -> (rows,) values, NaN where unknown."""

PROBES = 1009
"""Values that are looked at before a whole column is."""


def level_of(name: str, inputs: Collection[str]) -> Level:
    """What no model sees is only noted."""
    return "warning" if name in inputs else "note"


def missing(columns: Columns, inputs: Collection[str], max_share: float) -> list[Finding]:
    """Columns that are unknown on more than `max_share` of the rows."""
    shares = {name: float(np.isnan(values).mean()) for name, values in columns.items() if len(values)}
    return [
        Finding(
            check="missing",
            level=level_of(name, inputs),
            column=name,
            value=share,
            threshold=max_share,
            message=f"unknown on {share:.0%} of the rows; leave it out, or start where it is known (data.first_date)",
        )
        for name, share in shares.items()
        if share > max_share
    ]


def ended(columns: Columns, series: NDArray[np.int32], inputs: Collection[str], max_tail: int) -> list[Finding]:
    """Columns that were known and are unknown on the newest `max_tail` rows of a series, and longer.

    Args:
        columns: sorted by series, then date.
        series: (rows,) the number of each row's series, rising.
        inputs: the columns that a model sees.
        max_tail: rows.
    """
    findings = []
    ends = np.flatnonzero(np.diff(series, append=series[-1] + 1)) + 1
    starts = np.concatenate(([0], ends[:-1]))
    for name, values in columns.items():
        tails = [
            _unknown_tail(values[start:end])
            for start, end in zip(starts, ends, strict=True)
            if end - start > max_tail and np.isnan(values[end - max_tail : end]).all()
        ]
        tail = max((tail for tail in tails if tail is not None), default=0)
        if tail > max_tail:
            message = f"known before, unknown on the newest {tail} rows; mend the feed, or leave the column out"
            level = level_of(name, inputs)
            findings.append(
                Finding(check="ended", level=level, column=name, value=tail, threshold=max_tail, message=message)
            )
    return findings


def _unknown_tail(values: NDArray[np.floating[Any]]) -> int | None:
    """Unknown values after the last known one; None where nothing was ever known."""
    known = np.flatnonzero(~np.isnan(values))
    return len(values) - 1 - int(known[-1]) if len(known) else None


def constant(columns: Columns, inputs: Collection[str]) -> list[Finding]:
    """Columns with one value wherever they are known."""
    findings = []
    for name, values in columns.items():
        if _is_constant(values[:: _stride(values)]) and _is_constant(values) and not np.isnan(values).all():
            value = float(np.fmax.reduce(values))
            message = f"{value:g} on every row; a column that never changes teaches nothing, leave it out"
            level = level_of(name, inputs)
            findings.append(Finding(check="constant", level=level, column=name, value=value, message=message))
    return findings


def _stride(values: NDArray[Any]) -> int:
    return max(1, len(values) // PROBES)


def _is_constant(values: NDArray[np.floating[Any]]) -> bool:
    """Whether there is at most one known value."""
    known = values[~np.isnan(values)]
    return len(known) == 0 or bool(known.min() == known.max())


def duplicates(columns: Columns, inputs: Collection[str]) -> list[Finding]:
    """Columns equal to an earlier one on every row; constant columns are left to `constant`."""
    findings = []
    groups: dict[bytes, list[str]] = {}
    for name, values in columns.items():
        probe = values[:: _stride(values)].astype(np.float64)
        if _is_constant(probe) and _is_constant(values):
            continue
        # Adding 0 makes one zero of two, and one NaN of many.
        twins = groups.setdefault(np.where(np.isnan(probe), np.nan, probe + 0.0).tobytes(), [])
        twin = next((other for other in twins if np.array_equal(columns[other], values, equal_nan=True)), None)
        if twin is None:
            twins.append(name)
            continue
        message = f"equal to `{twin}` on every row; leave one of them out"
        findings.append(Finding(check="duplicate", level=level_of(name, inputs), column=name, message=message))
    return findings
