from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.engines.native import skops_io
from raytrain.errors import StoreCorrupt
from raytrain.families.ngboost import NGBoost, NGBoostParams

pytestmark = pytest.mark.native
QUICK = NGBoostParams(num_rounds=15)


def test_the_quantiles_are_those_of_a_normal(make_data) -> None:
    data = make_data()
    levels = (0.05, 0.25, 0.5, 0.9)
    values = NGBoost(QUICK).fit(data, FitContext(quantiles=levels)).predict(data.x)[:, 0].astype(float)
    deviation = (values[:, 3] - values[:, 2]) / NormalDist().inv_cdf(0.9)
    for column, level in enumerate(levels):
        expected = values[:, 2] + deviation * NormalDist().inv_cdf(level)
        np.testing.assert_allclose(values[:, column], expected, atol=1e-5)


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_it_is_ngboosts_own_training(make_data, task) -> None:
    from ngboost import NGBClassifier, NGBRegressor
    from sklearn.tree import DecisionTreeRegressor

    data = make_data()
    data = make_data(y=data.y[:, 0] > 0) if task == "binary" else data
    params = NGBoostParams(num_rounds=12, valid_share=0)
    ours = NGBoost(params).fit(data, FitContext(task=task)).predict(data.x)[:, 0, 0]
    tree = DecisionTreeRegressor(max_depth=3, min_samples_leaf=20, random_state=42)
    kind = NGBClassifier if task == "binary" else NGBRegressor
    plain = kind(
        Base=tree,
        n_estimators=12,
        learning_rate=0.04,
        minibatch_frac=0.5,
        col_sample=0.4,
        random_state=42,
        verbose=False,
    )
    plain.fit(data.x, data.y[:, 0].astype(int if task == "binary" else float))
    expected = plain.predict_proba(data.x)[:, 1] if task == "binary" else plain.predict(data.x)
    assert np.array_equal(ours, expected.astype(np.float32))


def test_rounds_end_where_the_kept_loss_was_lowest(make_data) -> None:
    told: list[float] = []
    params = NGBoostParams(num_rounds=300, learning_rate=0.2, early_stopping_rounds=6)
    model = NGBoost(params).fit(make_data(), FitContext(progress=told.append))
    assert len(told) < 300
    assert len(model._model.base_models) == len(model._model.scalings) == len(told) - 6


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_a_file_with_another_class_inside_is_refused(make_data, tmp_path: Path, task) -> None:
    io = skops_io()

    data = make_data()
    data = make_data(y=data.y[:, 0] > 0) if task == "binary" else data
    model = NGBoost(QUICK).fit(data, FitContext(task=task))
    model.save(tmp_path)
    NGBoost.load(tmp_path)
    model._model.extra = Path("/")
    io.dump(model._model, tmp_path / "model.skops")
    with pytest.raises(StoreCorrupt, match=r"pathlib\.\w+, which no NGBoost model is made of"):
        NGBoost.load(tmp_path)
