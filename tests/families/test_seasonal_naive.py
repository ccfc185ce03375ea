"""Seasonal naive: each row gets what its season brought."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.errors import FitError
from raytrain.families.seasonal_naive import SeasonalNaive, SeasonalNaiveParams

CONTEXT = FitContext(quantiles=(0.1, 0.5, 0.9), features=("close", "dow", "hour"))


def hours(make_data, weeks: int = 40) -> FitData:
    """A target that is the hour's, on weekdays, plus noise."""
    rows = weeks * 7 * 4
    dow, hour = np.arange(rows) // 4 % 7 + 1, np.arange(rows) % 4
    y = hour * (dow < 6) + np.random.default_rng(2).normal(0, 0.1, rows)
    data = make_data(rows, y)
    return replace(data, x=np.column_stack([np.zeros(rows), dow, hour]).astype(np.float32))


def test_a_row_gets_the_quantiles_of_its_season(make_data) -> None:
    data = hours(make_data)
    model = SeasonalNaive(SeasonalNaiveParams(season=("dow", "hour"), min_rows=20)).fit(data, CONTEXT)
    values = model.predict(data.x)[:, 0]
    of = (data.x[:, 1] == 3) & (data.x[:, 2] == 2)
    np.testing.assert_allclose(
        values[of], np.tile(np.quantile(data.y[of], CONTEXT.quantiles, method="hazen"), (40, 1)), rtol=1e-5
    )
    assert values[of].mean() == pytest.approx(2, abs=0.1)
    weekend = (data.x[:, 1] == 7) & (data.x[:, 2] == 2)
    assert values[weekend].mean() == pytest.approx(0, abs=0.1)


def test_a_season_with_too_few_rows_gets_those_of_all(make_data, tmp_path: Path) -> None:
    data = hours(make_data)
    data.x[:30, 2] = 9
    data.x[30:100, 2] = np.nan
    model = SeasonalNaive(SeasonalNaiveParams(season=("hour",), min_rows=31)).fit(data, CONTEXT)
    everything = np.quantile(data.y, CONTEXT.quantiles, method="hazen")
    strange = np.array([[0, 1, 9], [0, 1, np.nan], [0, 1, 7]], dtype=np.float32)
    np.testing.assert_allclose(model.predict(strange)[:, 0], np.tile(everything, (3, 1)), rtol=1e-5)
    model.save(tmp_path)
    assert np.array_equal(SeasonalNaive.load(tmp_path).predict(data.x), model.predict(data.x))


def test_a_label_gets_the_base_rate_of_its_season(make_data) -> None:
    data = hours(make_data)
    data = replace(data, y=(data.y > 0.5).astype(np.float32), weight=(1 + data.x[:, 1]).astype(np.float32))
    model = SeasonalNaive(SeasonalNaiveParams(season=("hour",))).fit(data, replace(CONTEXT, task="binary"))
    values = model.predict(data.x)
    assert values.shape == (len(data.y), 1, 1)
    last = data.x[:, 2] == 3
    assert values[last, 0, 0] == pytest.approx(np.average(data.y[last, 0], weights=data.weight[last]))
    assert values[last, 0, 0][0] == pytest.approx(20 / 35, abs=0.01)


def test_a_season_that_nobody_made_is_named(make_data) -> None:
    with pytest.raises(FitError, match=r"got `moy`.*dow.*The step `calendar`"):
        SeasonalNaive(SeasonalNaiveParams()).fit(hours(make_data), CONTEXT)
