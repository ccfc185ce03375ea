from dataclasses import asdict, replace
from json import dumps, loads

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.engines.tft_data import Layout, Sequences, rows_ahead, trailing_changes
from raytrain.errors import FitError
from raytrain.features.history import Ahead, History, PricePath
from raytrain.features.windows import Windows

LENGTHS = (30, 20)
KNOWN = (1,)
CONTEXT = FitContext(horizons=(1, 3), known=KNOWN)


def make_history(ends: np.ndarray, window: int = 4) -> History:
    """Two series with three features, of which the second is known as far as three rows beyond the newest."""
    rng = np.random.default_rng(0)
    series = np.repeat(np.arange(2, dtype=np.int32), LENGTHS)
    rows = len(series)
    table = rng.standard_normal((rows, 3), dtype=np.float32)
    change = rng.standard_normal(rows)
    change[[0, LENGTHS[0]]] = np.nan
    path = PricePath(change, np.full(rows, np.nan), np.full(rows, np.nan), series)
    at = np.arange(rows) + 3 * series
    future = rng.standard_normal((rows + 6, 1), dtype=np.float32)
    future[at] = table[:, KNOWN]
    return History(Windows(table, ends, window), path, Ahead(future, at))


def make_layout(x: History, context: FitContext = CONTEXT, num_ahead: int = 20) -> Layout:
    return Layout.of(x, np.arange(len(x)), context, x.shape[1], num_ahead)


@pytest.mark.parametrize(
    ("horizons", "most", "expected"),
    [
        ((1,), 20, (1,)),
        ((1, 5), 20, (1, 2, 3, 4, 5)),
        ((20,), 5, (4, 8, 12, 16, 20)),
        ((3, 20), 5, (3, 4, 8, 12, 16, 20)),
        ((252,), 3, (84, 168, 252)),
    ],
)
def test_the_decoder_steps_reach_the_longest_horizon(horizons: tuple[int, ...], most: int, expected: object) -> None:
    assert rows_ahead(horizons, most) == expected


def test_trailing_changes_are_sums_within_a_series() -> None:
    path = make_history(np.arange(4)).path
    found = trailing_changes(path, (1, 3))
    for row in range(len(path.change)):
        start = 0 if row < LENGTHS[0] else LENGTHS[0]
        for output, horizon in enumerate((1, 3)):
            behind = path.change[max(start, row - horizon + 1) : row + 1]
            assert found[row, output] == pytest.approx(np.nansum(behind), abs=1e-12)


def test_trailing_changes_do_not_feel_what_comes_later_in_any_series() -> None:
    path = make_history(np.arange(4)).path
    change = path.change.copy()
    change[20:30] = 1e300
    found = trailing_changes(replace(path, change=change), (1, 3))
    kept = np.r_[0:20, 30:50]
    assert np.array_equal(found[kept], trailing_changes(path, (1, 3))[kept])


def test_the_past_holds_features_and_changes_and_the_future_what_is_known() -> None:
    x = make_history(np.array([10, 29, 49]))
    layout = make_layout(x)
    made = Sequences(x, layout)[np.array([0, 1, 2])]
    assert made.shape == Sequences(x, layout).shape == (3, 4 + 3, 3 + 2 + 2)
    assert np.array_equal(made[:, :4, :3], x[np.arange(3)])
    change = trailing_changes(x.path, (1, 3)) / layout.change_scale
    np.testing.assert_allclose(made[0, :4, 3:5], change[7:11], rtol=1e-6)
    assert np.array_equal(made[0, 4:, 1], x.windows.table[11:14, 1])
    assert np.array_equal(made[:, 4:, 1], x.ahead(np.arange(3), 3, KNOWN)[..., 0])
    assert not made[:, 4:, [0, 2, 3, 4]].any()
    assert np.array_equal(made[0, :, layout.time_column], np.float32([-0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]))
    assert (made[..., layout.series_column] == np.array([[1], [1], [2]])).all()


def test_nothing_after_a_row_is_read_but_what_is_known_in_advance() -> None:
    x = make_history(np.array([10, 40]))
    poisoned_table, poisoned_change = x.windows.table.copy(), x.path.change.copy()
    for end, stop in ((10, 30), (40, 50)):
        poisoned_table[end + 1 : stop] = np.nan
        poisoned_change[end + 1 : stop] = 1e9
    windows = replace(x.windows, table=poisoned_table)
    poisoned = replace(x, windows=windows, path=replace(x.path, change=poisoned_change))
    layout = make_layout(x)
    assert layout == make_layout(poisoned)
    assert np.array_equal(Sequences(x, layout)[:], Sequences(poisoned, layout)[:])


def test_a_long_horizon_is_walked_in_strides() -> None:
    x = make_history(np.array([10]))
    layout = make_layout(x, replace(CONTEXT, horizons=(3,)), num_ahead=1)
    assert (layout.ahead, layout.outputs) == ((3,), (0,))
    assert Sequences(x, layout)[np.array([0])][0, 4, 1] == x.windows.table[13, 1]


def test_each_output_has_its_step() -> None:
    x = make_history(np.array([10]))
    assert make_layout(x, replace(CONTEXT, horizons=(3, 1))).outputs == (2, 0)


def test_without_known_features_the_future_holds_the_time_and_the_series() -> None:
    x = make_history(np.array([10]))
    layout = make_layout(x, replace(CONTEXT, known=()))
    future = Sequences(x, layout)[:][0, 4:]
    assert not future[:, : layout.time_column].any()
    assert future[:, layout.time_column :].all()


def test_changes_are_scaled_by_the_training_rows_and_clipped() -> None:
    x = make_history(np.arange(10, 20))
    layout = make_layout(x)
    head = trailing_changes(x.path, (1, 3))[10:20]
    assert layout.change_scale == pytest.approx(head.std(axis=0))
    x.path.change[10] = 1e6
    assert Sequences(x, layout)[:][..., 3:5].max() == 10


def test_a_series_that_training_has_not_seen_has_code_0() -> None:
    layout = make_layout(make_history(np.array([40])))
    made = Sequences(make_history(np.array([10, 40])), layout)[:]
    assert np.array_equal(made[:, 0, layout.series_column], [0, 1])


def test_two_outputs_of_one_horizon_are_refused() -> None:
    with pytest.raises(FitError, match=r"outputs lie \(5, 5\) rows ahead; fit targets of one horizon separately"):
        make_layout(make_history(np.array([10])), replace(CONTEXT, horizons=(5, 5)))


def test_a_layout_survives_json() -> None:
    layout = make_layout(make_history(np.arange(10, 20)))
    assert Layout.from_json(loads(dumps(asdict(layout)))) == layout
