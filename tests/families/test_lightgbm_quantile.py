from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.families.lightgbm_quantile import LightGBMQuantile, LightGBMQuantileParams

pytestmark = pytest.mark.native


def test_the_defaults_are_the_published_ones() -> None:
    assert LightGBMQuantileParams().model_dump() == {
        "scope": "pooled",
        "scale": "har",
        "num_leaves": 31,
        "max_depth": 10,
        "learning_rate": 0.05,
        "num_rounds": 200,
        "min_data_in_leaf": 20,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 5,
        "early_stopping_rounds": 10,
        "valid_share": 0.15,
    }


def test_levels_share_one_table_and_are_what_they_would_be_alone(make_data) -> None:
    data, params = make_data(), LightGBMQuantileParams()
    levels = (0.1, 0.5, 0.9)
    together = LightGBMQuantile(params).fit(data, FitContext(quantiles=levels)).predict(data.x)[:, 0]
    alone = [LightGBMQuantile(params).fit(data, FitContext(quantiles=(q,))).predict(data.x)[:, 0, 0] for q in levels]
    assert np.array_equal(together, np.sort(np.stack(alone, axis=-1), axis=-1))


def test_crossing_levels_are_put_in_order(make_data) -> None:
    data = make_data(60)
    levels = tuple(np.linspace(0.4, 0.6, 9))
    params = LightGBMQuantileParams(min_data_in_leaf=1, num_rounds=30, valid_share=0)
    model = LightGBMQuantile(params).fit(data, FitContext(quantiles=levels))
    apart = np.stack([booster.predict(data.x) for booster in model._boosters], axis=-1)
    assert (np.diff(apart, axis=-1) < 0).any()
    assert (np.diff(model.predict(data.x), axis=-1) >= 0).all()


def test_progress_runs_once_from_nothing_to_all(make_data) -> None:
    told: list[float] = []
    params = LightGBMQuantileParams(num_rounds=10, valid_share=0)
    LightGBMQuantile(params).fit(make_data(), FitContext(quantiles=(0.1, 0.9), progress=told.append))
    np.testing.assert_allclose(told, np.arange(1, 21) / 20)


def test_a_loaded_model_has_every_level(make_data, tmp_path: Path) -> None:
    data, levels = make_data(), tuple(np.linspace(0.05, 0.95, 12))  # more than nine: file names do not sort as numbers
    model = LightGBMQuantile(LightGBMQuantileParams(num_rounds=5)).fit(data, FitContext(quantiles=levels))
    model.save(tmp_path)
    assert np.array_equal(LightGBMQuantile.load(tmp_path).predict(data.x), model.predict(data.x))
