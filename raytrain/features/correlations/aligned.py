"""Rolling correlations row for row beside a frame, as a feature needs them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raytrain.data.frame import SERIES, Frame
from raytrain.features.correlations.changes import changes
from raytrain.features.correlations.config import Change
from raytrain.features.correlations.rolling import Windows, rolling_correlations
from raytrain.features.correlations.series import SeriesChanges


def pair_correlations(
    frame: Frame, pairs: Sequence[tuple[str, str]], change: Change, rows: int, min_rows: int
) -> NDArray[np.float32]:
    """The correlation of each pair's changes over the last `rows` rows of the same series.

    A row sees itself and earlier rows only, and later rows change no bit of it. The pairs are given: a choice by
    correlation would have seen the rows after it.

    Args:
        frame: sorted by series and date.
        pairs: columns by name.
        change: what is compared of each column; not `auto`, which looks at every row.
        rows: length of the window, the row's own included.
        min_rows: fewer known changes make no correlation.

    Returns:
        (pairs, rows of the frame); NaN where unknown, as on the first `rows - 1` rows of a series.
    """
    assert change != "auto", "`auto` would let later rows decide"
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    table = changes(frame, dict.fromkeys(names, change)).collect()
    found = []
    for part in table.partition_by(SERIES, maintain_order=True):
        series = SeriesChanges.of(part, names)
        windows = Windows.of_rows(part.height, (rows,))
        found.append(rolling_correlations(series.values, series.indices(pairs), windows, min_rows=min_rows)[0])
    return np.concatenate(found, axis=1)
