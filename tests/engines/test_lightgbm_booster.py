from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.training import teaching_rows

pytestmark = pytest.mark.native

SETTINGS = {"objective": "quantile", "alpha": 0.9, "num_leaves": 7, "bagging_fraction": 0.8, "bagging_freq": 5}


def train(data: FitData, context: FitContext, share: float = 0.2):
    from raytrain.engines.lightgbm_booster import Binned, TextBooster

    head, tail = teaching_rows(data, context, frozenset({"regression"}), share)
    return TextBooster.train(Binned(data, head, tail, context), SETTINGS, 60, 10, context)


def test_it_is_lightgbms_own_training_with_early_stopping(rows) -> None:
    import lightgbm

    data = rows(dates=200)
    head, tail = teaching_rows(data, FitContext(), frozenset({"regression"}), 0.2)
    common = dict(
        num_threads=1, seed=42, deterministic=True, force_row_wise=True, feature_pre_filter=False, verbosity=-1
    )
    matrix = lightgbm.Dataset(data.x[head], data.y[head, 0], params=common)
    aside = matrix.create_valid(data.x[tail], data.y[tail, 0])
    stop = lightgbm.early_stopping(10, verbose=False)
    plain = lightgbm.train({**SETTINGS, **common}, matrix, 60, valid_sets=[aside], callbacks=[stop])
    assert 0 < plain.best_iteration < 60
    expected = plain.predict(data.x, num_iteration=plain.best_iteration).astype(np.float32)
    assert np.array_equal(train(data, FitContext()).predict(data.x), expected)


def test_threads_do_not_change_the_numbers(rows) -> None:
    data = rows(dates=2000)
    one, two = (train(data, FitContext(threads=threads)).predict(data.x) for threads in (1, 2))
    assert np.array_equal(one, two)


def test_weights_of_one_are_no_weights(rows) -> None:
    data = rows(dates=200)
    heavy = replace(data, weight=np.full_like(data.weight, 5000))
    assert np.array_equal(train(data, FitContext()).predict(data.x), train(heavy, FitContext()).predict(data.x))


def test_the_file_is_the_model(rows, tmp_path: Path) -> None:
    from raytrain.engines.lightgbm_booster import TextBooster

    data = rows(dates=200)
    booster = train(data, FitContext())
    booster.save(tmp_path / "model.txt")
    assert np.array_equal(TextBooster.load(tmp_path / "model.txt").predict(data.x), booster.predict(data.x))


def test_one_split_by_categories_finds_what_no_threshold_can(coded) -> None:
    from raytrain.engines.lightgbm_booster import Binned, TextBooster

    data = coded()
    settings = {"objective": "regression", "num_leaves": 2, "learning_rate": 0.5}
    losses = []
    for given in ((), (0,)):
        context = FitContext(categorical=given)
        head, tail = teaching_rows(data, context, frozenset({"regression"}), 0.2)
        booster = TextBooster.train(Binned(data, head, tail, context), settings, 1, 10, context)
        losses.append(np.mean((booster.predict(data.x) - data.y[:, 0]) ** 2))
    assert losses[1] < 0.8 * losses[0]


def test_codes_that_training_has_not_seen_belong_to_no_set(coded) -> None:
    from raytrain.engines.lightgbm_booster import Binned, TextBooster

    data, context = coded(), FitContext(categorical=(0,))
    head, tail = teaching_rows(data, context, frozenset({"regression"}), 0.2)
    settings = {"objective": "regression", "num_leaves": 4}
    booster = TextBooster.train(Binned(data, head, tail, context), settings, 20, 10, context)
    x = np.repeat(data.x[:1], 4, axis=0)
    x[:, 0] = [0, 13, 500, 999]
    unseen = booster.predict(x)
    assert np.isfinite(unseen).all()
    assert len(set(unseen.tolist())) == 1
