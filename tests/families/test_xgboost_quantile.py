import json
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, Shape
from raytrain.families.xgboost_quantile import XGBoostQuantile, XGBoostQuantileParams

pytestmark = pytest.mark.native
LEVELS = (0.1, 0.5, 0.9)
QUICK = XGBoostQuantileParams(max_depth=2, learning_rate=0.1, num_rounds=120, min_child_weight=5)


def test_it_is_xgboosts_own_training_of_all_levels_with_early_stopping(make_data) -> None:
    import xgboost

    data = make_data(600)
    head, tail = data.head_and_tail(0.15) or ((), ())
    train = xgboost.QuantileDMatrix(data.x[head], data.y[head, 0])
    aside = xgboost.QuantileDMatrix(data.x[tail], data.y[tail, 0], ref=train)
    settings = {
        "objective": "reg:quantileerror",
        "quantile_alpha": list(LEVELS),
        **QUICK.model_dump(include={"max_depth", "learning_rate", "min_child_weight", "subsample", "colsample_bytree"}),
        "tree_method": "hist",
        "seed": 42,
        "nthread": 1,
    }
    plain = xgboost.train(settings, train, 120, evals=[(aside, "aside")], early_stopping_rounds=30, verbose_eval=False)
    expected = plain[: plain.best_iteration + 1].inplace_predict(data.x)
    found = XGBoostQuantile(QUICK).fit(data, FitContext(quantiles=LEVELS))
    assert found._booster.num_boosted_rounds() == plain.best_iteration + 1
    assert np.array_equal(found.predict(data.x)[:, 0], np.sort(expected, axis=1))


def test_parameters_reach_the_library(make_data) -> None:
    params = XGBoostQuantileParams(max_depth=2, learning_rate=0.2, min_child_weight=7, subsample=0.9, reg_lambda=3)
    model = XGBoostQuantile(params).fit(make_data(), FitContext(quantiles=LEVELS, seed=9))
    learner = json.loads(model._booster.save_config())["learner"]
    updater = learner["gradient_booster"]["tree_train_param"]
    assert learner["objective"]["name"] == "reg:quantileerror"
    assert learner["generic_param"]["seed"] == "9"
    for name in ("max_depth", "learning_rate", "min_child_weight", "subsample", "colsample_bytree", "reg_lambda"):
        assert float(updater[name]) == pytest.approx(getattr(params, name))


@pytest.mark.parametrize("levels", [(0.5,), tuple(np.linspace(0.05, 0.95, 12).tolist())])
def test_any_number_of_levels_is_saved_and_loaded(make_data, tmp_path: Path, levels: tuple[float, ...]) -> None:
    data = make_data()
    model = XGBoostQuantile(QUICK).fit(data, FitContext(quantiles=levels))
    model.save(tmp_path)
    values = XGBoostQuantile.load(tmp_path).predict(data.x)
    assert values.shape == (300, 1, len(levels))
    assert np.array_equal(values, model.predict(data.x))


def test_crossing_levels_are_put_in_order(make_data) -> None:
    data, levels = make_data(60), tuple(np.linspace(0.4, 0.6, 9).tolist())
    params = XGBoostQuantileParams(min_child_weight=1, num_rounds=30, valid_share=0, learning_rate=0.5)
    model = XGBoostQuantile(params).fit(data, FitContext(quantiles=levels))
    assert (np.diff(model._booster.inplace_predict(data.x), axis=-1) < 0).any()
    assert (np.diff(model.predict(data.x), axis=-1) >= 0).all()


def test_every_level_takes_its_time() -> None:
    one, two, three = (XGBoostQuantile.needs(QUICK, Shape(rows=5000, features=50, quantiles=n)).work for n in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert two > one
