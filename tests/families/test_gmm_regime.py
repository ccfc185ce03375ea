from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.errors import ConfigError
from raytrain.families.gmm_regime import GMMRegime, GMMRegimeParams
from raytrain.features.windows import Windows

pytestmark = pytest.mark.native
LEVELS = (0.1, 0.5, 0.9)
PARAMS = GMMRegimeParams(num_regimes=2, window=10)
NAMES = ("momentum", "vol_20", "other")
CONTEXT = FitContext(quantiles=LEVELS, features=NAMES)


def wild(num_rows: int) -> np.ndarray:
    """Regimes of 50 rows in turn."""
    return np.arange(num_rows) // 50 % 2 == 1


@pytest.fixture
def data(make_data) -> FitData:
    """The first feature pays in calm times, and costs in wild ones, which the second shows through noise."""
    made, rng = make_data(1500), np.random.default_rng(0)
    x = made.x.copy()
    x[:, 1] = np.where(wild(1500), 1.5, -1.5) + rng.standard_normal(1500)
    y = np.where(wild(1500), -1.0, 1.0) * x[:, 0] + np.where(wild(1500), 2.0, 0.5) * rng.standard_normal(1500)
    return replace(made, x=x, y=y.astype(np.float32)[:, None])


def windowed(data: FitData, window: int = 10) -> FitData:
    ends = np.arange(window - 1, len(data.y))
    return replace(data.take(ends), x=Windows(data.x[:], ends, window))


def test_each_regime_has_a_line_and_a_spread_of_its_own(data: FitData) -> None:
    model = GMMRegime(PARAMS).fit(windowed(data), CONTEXT)
    slopes = [expert.line.slope[0] for expert in model._experts]
    assert min(slopes) < -0.3 < 0.3 < max(slopes)
    values = model.predict(windowed(data).x)[:, 0]
    spread, inside = values[:, 2] - values[:, 0], wild(1500)[9:]
    assert spread[inside].mean() > 1.5 * spread[~inside].mean()


def test_it_forecasts_better_than_one_line(data: FitData) -> None:
    train, test = windowed(data.take(np.arange(1000))), windowed(data.take(np.arange(1000, 1500)))
    losses = []
    for sharing in (0.05, 1.0):
        model = GMMRegime(PARAMS.model_copy(update={"sharing": sharing})).fit(train, CONTEXT)
        above = test.y[:, :1] - model.predict(test.x)[:, 0]
        losses.append(np.maximum(np.array(LEVELS) * above, (np.array(LEVELS) - 1) * above).mean())
    assert losses[0] < 0.8 * losses[1]


def test_later_rows_change_nothing(data: FitData) -> None:
    model = GMMRegime(PARAMS).fit(windowed(data), CONTEXT)
    ends = np.arange(9, 1500)
    poisoned = data.x[:].copy()
    poisoned[1001:] = 50
    before, after = (model.predict(Windows(table, ends, 10))[:, 0] for table in (data.x[:], poisoned))
    known = ends <= 1000
    assert np.array_equal(before[known], after[known])
    assert not np.array_equal(before[~known], after[~known])


def test_the_window_sharpens_what_a_row_says_of_its_regime(data: FitData) -> None:
    right = []
    for window in (1, 10):
        given = windowed(data, window)
        model = GMMRegime(PARAMS.model_copy(update={"window": window})).fit(given, CONTEXT)
        belief = model._belief(given.x[np.arange(len(given.y))])
        share = np.mean((belief[:, 0] > 0.5) == wild(1500)[window - 1 :])
        right.append(max(share, 1 - share))  # regimes have no names
    assert right[1] > right[0] > 0.8


def test_regimes_are_told_by_volatility_or_by_what_is_named(data: FitData) -> None:
    def columns(params: GMMRegimeParams, context: FitContext) -> list[int]:
        return GMMRegime(params).fit(windowed(data), context)._columns

    assert columns(PARAMS, CONTEXT) == [1]
    assert columns(PARAMS, replace(CONTEXT, features=("a", "volume", "range_5"))) == [2]
    assert columns(PARAMS, replace(CONTEXT, features=())) == [0, 1, 2]
    assert columns(PARAMS, replace(CONTEXT, features=("a", "b", "c"), categorical=(2,))) == [0, 1]
    assert columns(GMMRegimeParams(window=10, columns=("mom", "oth")), CONTEXT) == [0, 2]


def test_a_name_that_no_feature_begins_with_is_refused(data: FitData) -> None:
    with pytest.raises(ConfigError, match="must begin the name of a feature, got `othr`; did you mean `other`"):
        GMMRegime(GMMRegimeParams(window=10, columns=("othr",))).fit(windowed(data), CONTEXT)


def test_windows_are_made_a_batch_at_a_time_and_not_kept(data: FitData) -> None:
    whole = windowed(data)

    class Counted(Windows):
        def __getitem__(self, rows):
            assert len(rows) <= 64
            return super().__getitem__(rows)

    counted = Counted(whole.x.table, whole.x.ends, 10)
    params = PARAMS.model_copy(update={"batch_size": 64})
    model = GMMRegime(params).fit(replace(whole, x=counted), CONTEXT)
    once = GMMRegime(PARAMS).fit(whole, CONTEXT)
    np.testing.assert_allclose(model.predict(counted), once.predict(whole.x), rtol=1e-5, atol=1e-6)
