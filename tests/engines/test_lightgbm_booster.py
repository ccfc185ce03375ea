from dataclasses import replace
from itertools import product
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


LOSSES = {
    "quantile": {"objective": "quantile", "alpha": 0.1},
    "l2": {"objective": "regression"},
    "binary": {"objective": "binary"},
}
BAGGING = {"none": {}, "bagging": {"bagging_fraction": 0.8, "bagging_freq": 5}}


@pytest.fixture(params=[(150, 4), (1500, 40), (4500, 12)], ids=str)
def wide(request: pytest.FixtureRequest, rows) -> FitData:
    """Two series of so many days and features: wandering and noisy ones, holes, zeros, a column of codes."""
    dates, features = request.param
    rng, data = np.random.default_rng(3), rows(dates=request.param[0])
    x = rng.standard_normal((2 * dates, features), dtype=np.float32)
    x[:, 1] = np.cumsum(x[:, 1])
    x[: dates // 10, ::3] = np.nan
    x[rng.random(2 * dates) < 0.9, 2] = 0
    x[:, 0] = rng.integers(1, 13, 2 * dates)
    return replace(data, x=x, y=data.y + 0.1 * np.nan_to_num(x[:, 1:2]))


@pytest.mark.parametrize("weighted", [False, True], ids=["equal weights", "weights of regimes"])
@pytest.mark.parametrize("loss", LOSSES)
def test_both_ways_to_sum_grow_the_same_trees_on_one_thread_or_two(wide: FitData, loss: str, weighted: bool) -> None:
    from raytrain.engines.lightgbm_booster import Binned

    if weighted:
        weight = np.random.default_rng(4).choice(np.float32([50, 120, 777, 5000]), len(wide.weight))
        wide = replace(wide, weight=weight)
    if loss == "binary":
        wide = replace(wide, y=(wide.y > 0).astype(np.float32))
    everything, none = np.arange(len(wide.y)), np.arange(0)
    for bagging, codes in product(BAGGING.values(), [(), (0,)]):
        grown = {}
        for threads, way in [(1, "force_row_wise"), (1, "force_col_wise"), (2, "force_col_wise")]:
            binned = Binned(wide, everything, none, FitContext(threads=threads, categorical=codes))
            settings = {**LOSSES[loss], **bagging, "num_leaves": 31, "feature_fraction": 0.8}
            booster = binned._booster(settings, way)
            for _ in range(12):
                booster.update()
            grown[threads, way] = booster.model_to_string().partition("parameters:")[0], booster.predict(wide.x)
        texts, values = zip(*grown.values(), strict=True)
        assert "split_feature=" in texts[0]
        assert texts[0] == texts[1] == texts[2]
        assert np.array_equal(values[0], values[1])
        assert np.array_equal(values[0], values[2])


def test_a_large_table_is_tried_both_ways_once(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    from raytrain.engines import lightgbm_booster

    data = rows(dates=200)
    everything, tried = np.arange(len(data.y)), []
    monkeypatch.setattr(lightgbm_booster, "_chosen", {})
    monkeypatch.setattr(lightgbm_booster, "_PROBED_VALUES", 1)
    seconds = {"force_row_wise": 2.0, "force_col_wise": 1.0}
    monkeypatch.setattr(
        lightgbm_booster.Binned, "_probe_s", lambda self, params, way: tried.append(way) or seconds[way]
    )
    for _ in range(2):
        binned = lightgbm_booster.Binned(data, everything, np.arange(0), FitContext())
        assert binned.booster(SETTINGS).params["force_col_wise"] is True
    assert tried == ["force_row_wise", "force_col_wise"]


def test_the_probe_leaves_the_booster_that_follows_alone(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    from raytrain.engines import lightgbm_booster

    data = rows(dates=200)
    untried = train(data, FitContext()).predict(data.x)
    monkeypatch.setattr(lightgbm_booster, "_chosen", {})
    monkeypatch.setattr(lightgbm_booster, "_PROBED_VALUES", 1)
    assert np.array_equal(train(data, FitContext()).predict(data.x), untried)
    assert lightgbm_booster._chosen


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
