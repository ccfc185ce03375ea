"""Series side by side: every row once, none of another series."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.data import Frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.steps import base
from raytrain.features.steps import panel as panel_module
from raytrain.features.steps.panel import Panel

MakeFrame = Callable[[pl.DataFrame], Frame]


def ragged(lengths: list[int], seed: int = 0) -> pl.DataFrame:
    """Series of these lengths, with gaps in `other`."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, rows in enumerate(lengths):
        other = rng.normal(5, 1, rows)
        other[rng.random(rows) < 0.1 * (number % 2)] = np.nan
        days = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2060, 1, 1), "1d", eager=True).head(rows)
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
        parts.append(pl.DataFrame({"series_id": f"S{number:03}", "date": days, "close": close, "other": other}))
    return pl.concat(parts)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_batches_hold_every_row_once(lengths: list[int], as_frame: MakeFrame) -> None:
    panel = Panel.of(as_frame(ragged(lengths)))
    assert panel.lengths.tolist() == lengths
    assert panel.positions().tolist() == [row for rows in lengths for row in range(rows)]
    rows = np.arange(sum(lengths)) * 1.0
    seen = []
    for batch in panel.batches():
        values = batch.take(rows)
        assert values.shape == batch.shape
        for series, some in zip(values, batch.slices(), strict=True):
            length = some.stop - some.start
            np.testing.assert_array_equal(series[:length], rows[some])
            assert (series[length:] == rows[some][-1]).all()
            seen += series[:length].tolist()
    assert sorted(seen) == rows.tolist()


def test_a_series_is_the_same_alone_and_among_others(as_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, however many series and columns are computed at once."""
    steps = [
        {"step": "log_return", "rows": [1, 5]},
        {"step": "zscore", "columns": ["close", "other"], "rows": [5, 9]},
        {"step": "rsi", "columns": ["close", "other"], "rows": 3},
        {"step": "macd", "columns": ["other"], "fast": 2, "slow": 4, "signal": 3},
        {"step": "spread", "left": "close", "right": "other", "zscore_rows": [4]},
        {"step": "ewma_volatility"},
    ]
    config = FeaturesConfig.model_validate({"steps": steps})
    table = ragged([30, 1, 90, 30, 2, 31, 7, 250, 30, 12])
    found = {}
    for batch_rows, block in ((1, 2**16), (100, 2**16), (10_000, 2**16), (100, 1)):
        monkeypatch.setattr(panel_module, "_BATCH_ROWS", batch_rows)
        monkeypatch.setattr(base, "_BLOCK", block)
        found[batch_rows, block] = build(as_frame(table), config).x
    alone = [build(as_frame(part), config).x for part in table.partition_by("series_id", maintain_order=True)]
    assert {x.tobytes() for x in found.values()} == {np.concatenate(alone).tobytes()}
    assert np.isfinite(found[100, 1]).any(axis=0).all()
