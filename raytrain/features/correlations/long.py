"""Correlations as a long table: a row per series, date, window and pair."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raytrain.data.frame import DATE, SERIES

_NAME = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        (SERIES, _NAME),
        (DATE, pa.timestamp("us")),
        ("window", pa.int32()),
        ("left", _NAME),
        ("right", _NAME),
        ("correlation", pa.float32()),
    ]
)
ROWS_AT_ONCE = 1_000_000


def long_tables(
    series: str,
    dates: NDArray[np.datetime64],
    days: tuple[int, ...],
    pairs: tuple[tuple[str, str], ...],
    correlations: NDArray[np.float32],
) -> Iterator[pa.Table]:
    """Some pairs at a time, by window, pair and date.

    Args:
        series: whose they are.
        dates: (rows,)
        days: length of each window.
        pairs: by name.
        correlations: (windows, pairs, rows), NaN where unknown, which becomes null.
    """
    at_once = max(1, ROWS_AT_ONCE // len(dates))
    for window, length in enumerate(days):
        for first in range(0, len(pairs), at_once):
            some = slice(first, first + at_once)
            yield _table(series, dates, length, pairs[some], correlations[window, some])


def _table(
    series: str,
    dates: NDArray[np.datetime64],
    days: int,
    pairs: tuple[tuple[str, str], ...],
    correlations: NDArray[np.float32],
) -> pa.Table:
    number, size = np.repeat(np.arange(len(pairs), dtype=np.int32), len(dates)), correlations.size
    columns = [
        pa.DictionaryArray.from_arrays(np.zeros(size, np.int32), [series]),
        pa.array(np.tile(dates.astype("datetime64[us]"), len(pairs))),
        pa.array(np.full(size, days, np.int32)),
        *(pa.DictionaryArray.from_arrays(number, [pair[side] for pair in pairs]) for side in (0, 1)),
        pa.array(correlations.ravel(), from_pandas=True),
    ]
    return pa.table(columns, schema=SCHEMA)
