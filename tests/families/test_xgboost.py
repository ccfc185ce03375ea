import json
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, Shape
from raytrain.families.xgboost import XGBoost, XGBoostParams

pytestmark = pytest.mark.native


def test_parameters_reach_the_library(make_data) -> None:
    params = XGBoostParams(max_depth=3, learning_rate=0.2, min_child_weight=5, subsample=0.9, colsample_bytree=0.5)
    model = XGBoost(params).fit(make_data(), FitContext(seed=9))
    learner = json.loads(model._booster.save_config())["learner"]
    updater = learner["gradient_booster"]["tree_train_param"]
    assert learner["objective"]["name"] == "reg:squarederror"
    assert learner["generic_param"]["nthread"] == "1"
    assert learner["generic_param"]["seed"] == "9"
    assert {name: float(updater[name]) for name in params.model_dump() if name in updater} == pytest.approx(
        {
            "max_depth": 3,
            "learning_rate": 0.2,
            "min_child_weight": 5,
            "subsample": 0.9,
            "colsample_bytree": 0.5,
            "reg_lambda": 1,
        }
    )


def test_it_is_xgboosts_own_training_with_early_stopping(make_data) -> None:
    import xgboost

    data = make_data(600)
    params = XGBoostParams(max_depth=3, learning_rate=0.1, num_rounds=200, early_stopping_rounds=8, valid_share=0.2)
    head, tail = data.head_and_tail(0.2) or ((), ())
    train = xgboost.QuantileDMatrix(data.x[head], data.y[head, 0])
    aside = xgboost.QuantileDMatrix(data.x[tail], data.y[tail, 0], ref=train)
    settings = {"max_depth": 3, "learning_rate": 0.1, "tree_method": "hist", "seed": 42, "nthread": 1}
    plain = xgboost.train(settings, train, 200, evals=[(aside, "aside")], early_stopping_rounds=8, verbose_eval=False)
    expected = plain[: plain.best_iteration + 1].inplace_predict(data.x)
    assert np.array_equal(XGBoost(params).fit(data, FitContext()).predict(data.x)[:, 0, 0], expected)


def test_threads_do_not_change_the_numbers(make_data) -> None:
    data = make_data(5000)
    one, two = (
        XGBoost(XGBoostParams(num_rounds=20)).fit(data, FitContext(threads=threads)).predict(data.x)
        for threads in (1, 2)
    )
    assert np.array_equal(one, two)


def test_regularisation_does_not_depend_on_the_unit_of_the_weights(make_data) -> None:
    rng = np.random.default_rng(0)
    weight = rng.choice([1.0, 2.0], 300)
    one, other = (
        XGBoost(XGBoostParams(num_rounds=30)).fit(make_data(weight=weight * unit), FitContext()).predict(make_data().x)
        for unit in (1, 1024)
    )
    assert np.array_equal(one, other)


def test_deep_trees_need_memory_for_their_histograms() -> None:
    shape = Shape(rows=20_000, features=100)
    shallow, deep = (XGBoost.needs(XGBoostParams(max_depth=depth), shape).memory_bytes for depth in (4, 10))
    assert deep > 3 * shallow


def test_the_file_is_binary_json(make_data, tmp_path: Path) -> None:
    XGBoost(XGBoostParams(num_rounds=2)).fit(make_data(), FitContext()).save(tmp_path)
    assert (tmp_path / "model.ubj").read_bytes()[:1] == b"{"
