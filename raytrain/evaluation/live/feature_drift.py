"""Whether the newest rows look like those that models were trained on, feature by feature."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.evaluation.scoring.scores import table
from raytrain.metrics import Floats

SCHEMA = {
    "feature": pl.String,
    "distance": pl.Float64,
    "usual": pl.Float64,
    "num_stretches": pl.Int64,
    "outside": pl.Float64,
    "drifted": pl.Boolean,
}
MIN_STRETCHES = 10
"""Fewer stretches before the newest one do not tell what is usual."""
MAX_STRETCHES = 250
"""Stretches before the newest one that are looked at: 60 years of 60 daily rows, and a bound for hourly ones."""
_TOO_MANY = 3
"""Times as many drifted features as chance gives that are worth a warning, and the least number of them."""


def feature_drift(
    names: Sequence[str], x: NDArray[np.float32], series: NDArray[np.int32], usable: NDArray[np.bool_], rows: int
) -> pl.DataFrame:
    """How far the newest rows of each feature are from all others, against each earlier stretch of as many rows.

    Features depend on their past, so that a test for independent rows would find drift on every day. Here the newest
    stretch is compared with its likes: it has drifted when it is further from the rest than every stretch before it,
    which without any change happens once in num_stretches + 1.

    Args:
        names: of the features.
        x: (rows, features), row for row ordered by series, then date; NaN where unknown.
        series: (rows,) code of each row's series; equal ones stand together.
        usable: (rows,) False on warm-up rows, which are left out.
        rows: newest rows of each series, and length of every stretch.

    Returns:
        By falling distance / usual: feature; distance, the Kolmogorov-Smirnov distance of the newest stretch from the
        other ones, 0 to 1; usual, the largest such distance of the newest 250 stretches before; num_stretches; outside,
        the share of newest values beyond all earlier ones, where trees do not extrapolate; drifted. Features with fewer
        than 10 stretches, or with hardly a known value in the newest, are left out.

    Source: Kolmogorov-Smirnov as in Massey (1951), JASA 46(253); the comparison is a rank test over stretches.
    """
    number = np.full(len(series), MAX_STRETCHES + 1)
    number[usable] = _stretches(series[usable], rows)
    kept = np.flatnonzero(number <= MAX_STRETCHES)
    found = (_of_feature(name, x[kept, column], number[kept], rows) for column, name in enumerate(names))
    made = table([row for row in found if row], SCHEMA)
    return made.sort(pl.col("distance") / pl.col("usual"), descending=True, nulls_last=True)


def drift_warnings(found: pl.DataFrame, rows: int) -> list[str]:
    """A line when clearly more features drifted than chance gives."""
    out = found.filter("drifted")
    expected = (1 / (found["num_stretches"] + 1)).sum()
    if out.height < _TOO_MANY * max(1.0, expected):
        return []
    named = ", ".join(out["feature"].head(5)) + (", ..." if out.height > 5 else "")
    return [
        f"{out.height} of {found.height} features are further from their past on the last {rows} rows than on any "
        f"{rows} rows before ({expected:.1f} by chance): {named}"
    ]


def _stretches(series: NDArray[np.int32], rows: int) -> NDArray[np.int64]:
    """(rows,) how many whole stretches lie between a row and the end of its series: 0 for the newest."""
    _, first, count = np.unique(series, return_index=True, return_counts=True)
    from_end = np.empty(len(series), np.int64)
    for start, num in zip(first, count, strict=True):
        from_end[start : start + num] = np.arange(num)[::-1]
    return from_end // rows


def _of_feature(name: str, values: NDArray[np.float32], stretch: NDArray[np.int64], rows: int) -> dict[str, Any] | None:
    known = np.isfinite(values)
    values, stretch = values[known], stretch[known]
    newest = stretch == 0
    if newest.sum() < rows / 2 or newest.all():
        return None
    _, code, count = np.unique(values, return_inverse=True, return_counts=True)
    share = np.concatenate([[0.0], np.cumsum(count) / len(values)])
    distances = list(_distances(code, share, stretch, rows))
    now, before = distances[0], distances[1:]
    if len(before) < MIN_STRETCHES:
        return None
    earlier = values[~newest]
    outside = (values[newest] < earlier.min()) | (values[newest] > earlier.max())
    usual = max(before)
    return {
        "feature": name,
        "distance": now,
        "usual": usual,
        "num_stretches": len(before),
        "outside": float(outside.mean()),
        "drifted": now > usual,
    }


def _distances(code: NDArray[np.intp], share: Floats, stretch: NDArray[np.int64], rows: int) -> Iterator[float]:
    """Distance of each stretch that is known at least by half from the rest, the newest first.

    Args:
        code: (n,) place of each value among all distinct ones.
        share: (distinct + 1,) share of all values below each place.
        stretch: (n,) number of each value's stretch.
        rows: of a whole stretch.
    """
    order = np.argsort(stretch, kind="stable")
    cuts = np.flatnonzero(np.diff(stretch[order])) + 1
    for part in np.split(code[order], cuts):
        if len(part) < rows / 2:
            continue
        place, count = np.unique(part, return_counts=True)
        reached = np.cumsum(count) / len(part)
        gap = max(np.abs(reached - share[place + 1]).max(), np.abs(reached - count / len(part) - share[place]).max())
        # The stretch is a part of all rows: this is its distance from the others.
        yield float(gap * len(code) / (len(code) - len(part)))
