from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from raytrain.data import Frame
from raytrain.features.steps.correlation import Correlation

Compute = Callable[..., Any]


@pytest.fixture(scope="session")
def values(compute: Compute) -> Compute:
    """The correlation of close and other beside the series, by these fields."""

    def make(frame: Frame, **fields: Any) -> pl.DataFrame:
        found = compute(frame, step="correlation", pairs=[["close", "other"]], **fields)
        return frame.table.select("series_id").with_columns(**found)

    return make


def test_equal_to_a_loop_within_each_series(frame: Frame, values: Compute) -> None:
    found = values(frame, change="difference", rows=[20])
    assert found.columns[1:] == ["close_other_corr_20"]
    for series in frame.series:
        mine = frame.table.filter(series_id=series).select(pl.col("close", "other").fill_nan(None).diff())
        column = found.filter(series_id=series)["close_other_corr_20"].fill_nan(None)
        for row in range(len(mine)):
            window = mine[max(0, row - 19) : row + 1].drop_nulls()
            if row < 19 or window.height < 16:
                assert column[row] is None
            else:
                assert column[row] == pytest.approx(window.select(pl.corr("close", "other")).item(), abs=1e-5)
        assert column.drop_nulls().len() > 30


def test_features_are_pair_by_pair(frame: Frame, compute: Compute) -> None:
    pairs = [["close", "other"], ["high", "low"]]
    both = compute(frame, step="correlation", pairs=pairs, change="difference", rows=[10, 20])
    assert list(both) == [f"{left}_{right}_corr_{rows}" for left, right in pairs for rows in (10, 20)]
    for left, right in pairs:
        for rows in (10, 20):
            alone = compute(frame, step="correlation", pairs=[[left, right]], change="difference", rows=[rows])
            np.testing.assert_array_equal(both[f"{left}_{right}_corr_{rows}"], *alone.values())


def test_the_future_changes_no_bit_and_the_look_back_is_enough(
    frame: Frame, as_frame: Callable[[pl.DataFrame], Frame], values: Compute
) -> None:
    table = frame.table.filter(series_id="A")
    whole = values(as_frame(table), change="log", rows=[20])
    head = values(as_frame(table.head(100)), change="log", rows=[20])
    assert head["close_other_corr_20"].equals(whole["close_other_corr_20"].head(100))
    step = Correlation(pairs=(("close", "other"),), rows=(20,))
    tail = values(as_frame(table.tail(step.lookback + 1)), change="log", rows=[20])
    last = [one["close_other_corr_20"][-1] for one in (whole, tail)]
    assert np.isfinite(last[0]) and last[1] == pytest.approx(last[0], abs=1e-6)


def test_it_names_what_it_reads_and_needs() -> None:
    step = Correlation(pairs=(("close", "other"), ("other", "high")), rows=(10, 63))
    assert step.over(None) == ("close", "other", "high")  # type: ignore[arg-type]
    assert step.lookback == 63 and step.needs_positive
    assert not Correlation(pairs=(("a", "b"),), change="difference").needs_positive
    with pytest.raises(ValidationError):
        Correlation(pairs=())
