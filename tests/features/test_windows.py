"""Windows are views of a loop over one series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.features.preprocess import Preprocess
from raytrain.features.windows import Windows, ends_with_history

TABLE = np.arange(60, dtype=np.float32).reshape(20, 3)
SERIES = np.array([0] * 12 + [1] * 8)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), steps=st.integers(1, 12))
def test_history_ends_at_the_start_of_a_series(lengths: list[int], steps: int) -> None:
    series = np.repeat(np.arange(len(lengths)), lengths)
    expected = [position + 1 >= steps for length in lengths for position in range(length)]
    assert ends_with_history(series, steps).tolist() == expected


@pytest.mark.parametrize("steps", [1, 2, 5, 8, 12])
def test_windows_equal_a_loop(steps: int) -> None:
    ends = np.flatnonzero(ends_with_history(SERIES, steps))
    windows = Windows(TABLE, ends, steps)
    expected = np.stack([TABLE[end - steps + 1 : end + 1] for end in ends])
    assert windows.shape == expected.shape
    assert len(windows) == len(ends)
    np.testing.assert_array_equal(windows[:], expected)


def test_choosing_windows() -> None:
    windows = Windows(TABLE, np.arange(4, 12), 5)
    everything = windows[:]
    np.testing.assert_array_equal(windows[3], everything[3])
    np.testing.assert_array_equal(windows[np.array([6, 0, 6])], everything[[6, 0, 6]])
    np.testing.assert_array_equal(windows[np.arange(8) % 2 == 0], everything[::2])
    assert windows[np.array([], dtype=int)].shape == (0, 5, 3)


def test_more_steps_than_rows_leave_no_window() -> None:
    assert not ends_with_history(SERIES, 21).any()
    assert not ends_with_history(np.array([], dtype=int), 3).any()
    none = Windows(TABLE, np.array([], dtype=np.int64), 21)
    assert (len(none), none.shape, none[:].shape) == (0, (0, 21, 3), (0, 21, 3))


@pytest.mark.parametrize("rows", [slice(None), slice(2, 5), np.array([4, 0, 4]), np.array([], dtype=int)])
def test_preprocessing_on_the_way_out_is_preprocessing_the_table(rows: object) -> None:
    """To the bit, and the table stays as it is."""
    table = np.random.default_rng(0).normal(5, 3, (20, 3)).astype(np.float32)
    table[3, 1] = np.nan
    before, preprocess, ends = table.tobytes(), Preprocess.fit(table[:15]), np.flatnonzero(ends_with_history(SERIES, 4))
    found = Windows(table, ends, 4, preprocess)
    former = Windows(preprocess.apply(table), ends, 4)
    assert found.shape == former.shape
    assert found[rows].tobytes() == former[rows].tobytes()
    assert table.tobytes() == before
