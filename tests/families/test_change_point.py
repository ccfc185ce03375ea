from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.families.change_point import ChangePoint, ChangePointParams, find_breaks
from raytrain.families.ridge import Ridge, RidgeParams

pytestmark = pytest.mark.native
LEVELS = (0.1, 0.5, 0.9)
CONTEXT = FitContext(quantiles=LEVELS)
DAY = 86_400 * 10**9
PARAMS = ChangePointParams(min_segment=50)


def two_halves(make_data) -> FitData:
    """A level of -3 and then, from row 300, of 3."""
    return make_data(600, y=np.repeat([-3.0, 3.0], 300) + np.random.default_rng(0).standard_normal(600))


@pytest.mark.parametrize("penalty", [0.5, 1.0, 4.0])
def test_breaks_are_those_of_pelt(penalty: float) -> None:
    from ruptures import Pelt

    rng = np.random.default_rng(1)
    signal = np.repeat(rng.standard_normal((6, 2)), 40, axis=0) + rng.standard_normal((240, 2))
    noise = np.diff(signal, axis=0).std(axis=0) / np.sqrt(2)
    gain = penalty * 2 * np.log(240)
    expected = Pelt(model="l2", min_size=10, jump=1).fit(signal / noise).predict(pen=gain)[:-1]
    found = find_breaks(signal, penalty, 10)
    assert found == expected
    assert penalty > 0.5 or found


def test_noise_has_no_break() -> None:
    rng = np.random.default_rng(2)
    assert [find_breaks(rng.standard_t(4, (1000, 2)), 1.5, 100) for _ in range(20)] == [[]] * 20


def test_a_signal_without_room_or_without_noise_has_no_break() -> None:
    assert find_breaks(np.arange(19.0)[:, None], 0.1, 10) == []
    assert find_breaks(np.zeros((50, 1)), 0.1, 10) == []
    assert find_breaks(np.zeros((1, 1)), 0.1, 2) == []


def test_a_change_of_the_spread_is_a_break(make_data) -> None:
    y = np.repeat([1.0, 4.0], 400) * np.random.default_rng(3).standard_normal(800)
    model = ChangePoint(PARAMS).fit(make_data(800, y), CONTEXT)
    (found,) = model.breaks[0]
    assert abs(found // DAY - 400) < 15
    spread = np.ptp(model.predict(np.zeros((1, 3), dtype=np.float32)))
    assert spread > 0.8 * 4 * 2.56


def test_a_restart_forgets_what_came_before(make_data) -> None:
    data = two_halves(make_data)
    restart = ChangePoint(ChangePointParams(min_segment=50, old_weight=0)).fit(data, CONTEXT)
    (found,) = restart.breaks[0]
    assert found // DAY == 300
    only = Ridge(RidgeParams()).fit(data.take(np.arange(300, 600)), CONTEXT)
    assert np.array_equal(restart.predict(data.x), only.predict(data.x))


def test_old_rows_count_by_their_weight(make_data) -> None:
    data = two_halves(make_data)
    weight = np.repeat([0.2, 1.0], 300).astype(np.float32)
    weighted = Ridge(RidgeParams()).fit(replace(data, weight=weight), CONTEXT)
    assert np.array_equal(ChangePoint(PARAMS).fit(data, CONTEXT).predict(data.x), weighted.predict(data.x))


def test_every_series_has_breaks_of_its_own(make_data) -> None:
    broken, steady = two_halves(make_data), make_data(600, y=np.random.default_rng(4).standard_normal(600))
    both = {name: np.concatenate([getattr(broken, name), getattr(steady, name)]) for name in vars(broken)}
    model = ChangePoint(PARAMS).fit(FitData(**both | {"series": np.repeat([3, 8], 600).astype(np.int32)}), CONTEXT)
    assert {series: [date // DAY for date in dates] for series, dates in model.breaks.items()} == {3: [300], 8: []}


def test_overlapping_targets_are_looked_at_one_horizon_apart(make_data) -> None:
    steps = np.random.default_rng(5).standard_normal(1020)
    sums = np.convolve(steps, np.ones(20), mode="valid")[:1000]
    apart = ChangePoint(PARAMS).fit(make_data(1000, sums), replace(CONTEXT, horizons=(20,)))
    taken_for_levels = ChangePoint(PARAMS).fit(make_data(1000, sums), CONTEXT)
    assert apart.breaks[0] == ()
    assert taken_for_levels.breaks[0] != ()


def test_a_label_has_breaks_in_its_rate(make_data) -> None:
    y = np.random.default_rng(6).random(600) < np.repeat([0.1, 0.8], 300)
    model = ChangePoint(PARAMS).fit(make_data(600, y), FitContext(task="binary"))
    (found,) = model.breaks[0]
    assert abs(found // DAY - 300) < 10
    assert model.predict(np.zeros((1, 3), dtype=np.float32)).item() > 0.55


def test_breaks_are_saved(make_data, tmp_path: Path) -> None:
    model = ChangePoint(PARAMS).fit(two_halves(make_data), CONTEXT)
    model.save(tmp_path)
    assert ChangePoint.load(tmp_path).breaks == model.breaks == {0: (300 * DAY,)}
