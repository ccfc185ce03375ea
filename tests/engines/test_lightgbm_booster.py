from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData, Known
from raytrain.engines.training import teaching_rows

pytestmark = pytest.mark.native

SETTINGS = {"objective": "quantile", "alpha": 0.9, "num_leaves": 7, "bagging_fraction": 0.8, "bagging_freq": 5}


@pytest.fixture(autouse=True)
def nothing_kept():
    """Each test begins like a new process."""
    from raytrain.engines import lightgbm_booster

    lightgbm_booster._kept.clear()
    lightgbm_booster._chosen.clear()
    return lightgbm_booster


def train(data: FitData, context: FitContext, share: float = 0.2, settings: dict | None = None):
    from raytrain.engines.lightgbm_booster import Binned, TextBooster

    head, tail = teaching_rows(data, context, frozenset({"regression", "binary"}), share)
    return TextBooster.train(Binned(data, head, tail, context), settings or SETTINGS, 60, 10, context)


def part_of(data: FitData, unlabelled: int) -> FitData:
    """All but the newest rows of `data`, which are known all the same."""
    labelled = np.arange(len(data.y) - unlabelled)
    return replace(data.take(labelled), known=Known(read=data.x.copy, train=labelled))


def awkward(data: FitData) -> FitData:
    """Columns of very different sizes, with gaps, few values, one value, none."""
    rng, x = np.random.default_rng(5), np.empty((len(data.y), 8), dtype=np.float32)
    x[:, :4] = data.x
    x[:, 0] = np.where(rng.random(len(x)) < 0.2, np.nan, x[:, 0])
    x[:, 1] *= 1e-6
    x[3, 1] = -1e6
    x[:, 2] = 1e7 * x[:, 2] + 3e7
    x[:, 4] = rng.integers(0, 3, len(x))
    x[:, 5] = rng.random(len(x)) < 0.05
    x[:, 6], x[:, 7] = 7, np.nan
    return replace(data, x=x)


@pytest.mark.parametrize("share", [0, 0.2])
@pytest.mark.parametrize("objective", ["quantile", "regression"])
def test_it_is_lightgbms_own_training_on_columns_that_begin_at_zero(rows, share: float, objective: str) -> None:
    import lightgbm

    data = awkward(rows(dates=200))
    head, tail = teaching_rows(data, FitContext(), frozenset({"regression"}), share)
    settings = {**SETTINGS, "objective": objective}
    binning = dict(data_random_seed=1, feature_pre_filter=False, verbosity=-1)
    common = dict(num_threads=1, seed=42, deterministic=True, force_row_wise=True, **binning)
    lowest = [0 if np.isnan(column).all() else np.nanmin(column) for column in data.x[np.union1d(head, tail)].T]
    x = data.x - np.array(lowest, dtype=float)
    edges = lightgbm.Dataset(x[np.union1d(head, tail)], params=binning)
    matrix = lightgbm.Dataset(x[head], data.y[head, 0], reference=edges, params=binning)
    if share:
        aside = matrix.create_valid(x[tail], data.y[tail, 0])
        stop = lightgbm.early_stopping(10, verbose=False)
        plain = lightgbm.train({**settings, **common}, matrix, 60, valid_sets=[aside], callbacks=[stop])
        assert 0 < plain.best_iteration < 60
    else:
        plain = lightgbm.train({**settings, **common}, matrix, 60)
    expected = plain.predict(x, num_iteration=plain.best_iteration or None).astype(np.float32)
    assert np.array_equal(train(data, FitContext(), share, settings).predict(data.x), expected)


@pytest.mark.parametrize("categorical", [(), (4,)])
def test_shared_bins_change_nothing_in_any_order_of_fits(rows, nothing_kept, categorical) -> None:
    data, context = awkward(rows(dates=300)), FitContext(categorical=categorical)
    ends = (1, 20, 60)
    alone = []
    for unlabelled in ends:
        nothing_kept._kept.clear()
        alone.append(train(part_of(data, unlabelled), context, 0)._text)
    assert len(set(alone)) == len(ends)
    nothing_kept._kept.clear()
    for order in (ends, ends[::-1]):
        assert {unlabelled: train(part_of(data, unlabelled), context, 0)._text for unlabelled in order} == dict(
            zip(ends, alone, strict=True)
        )
    assert len(nothing_kept._kept) == 1


def test_fits_of_one_fold_are_binned_once(rows, nothing_kept, monkeypatch: pytest.MonkeyPatch) -> None:
    binned, construct = [], nothing_kept._constructed
    monkeypatch.setattr(nothing_kept, "_constructed", lambda *given: binned.append(given) or construct(*given))
    data = rows(dates=300)
    other = replace(data, x=data.x + 1)
    for unlabelled in (1, 5, 20):
        train(part_of(data, unlabelled), FitContext(seed=unlabelled, threads=1 + unlabelled % 2))
    assert len(binned) == 1
    train(part_of(other, 1), FitContext())
    train(part_of(data, 1), FitContext(categorical=(0,)))
    assert len(binned) == 3
    assert len(nothing_kept._kept) == 2


def test_labels_teach_the_bins_nothing(rows) -> None:
    """What is not labelled yet is known by its features alone."""
    data = part_of(rows(dates=300), 60)
    poisoned = replace(data, y=data.y.copy())
    poisoned.y[:] = np.random.default_rng(1).standard_normal(poisoned.y.shape)
    context, nothing = FitContext(), np.empty(0, dtype=np.intp)
    from raytrain.engines.lightgbm_booster import Binned

    first, second = (Binned(one, np.arange(len(one.y)), nothing, context) for one in (data, poisoned))
    sizes = [[one.train.feature_num_bin(column) for column in range(4)] for one in (first, second)]
    assert sizes[0] == sizes[1]
    assert np.array_equal(first.zero, second.zero)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("objective", ["quantile", "regression", "binary"])
def test_rows_first_or_columns_first_gives_the_same_bits(rows, monkeypatch, objective, weighted, threads) -> None:
    from raytrain.engines.lightgbm_booster import Binned

    data = awkward(rows(dates=1500))
    if objective == "binary":
        data = replace(data, y=(data.y > 0).astype(np.float32))
    if weighted:
        data = replace(data, weight=np.random.default_rng(3).uniform(0.01, 3, len(data.y)).astype(np.float32))
    texts = []
    for way in ("force_row_wise", "force_col_wise"):
        monkeypatch.setattr(Binned, "quicker_way", lambda self, params, way=way: way)
        settings = {"objective": objective, "num_leaves": 15}
        text = train(
            data, FitContext(task="binary" if objective == "binary" else "regression", threads=threads), 0.2, settings
        )
        texts.append(text._text.partition("\nparameters:")[0])
    assert texts[0] == texts[1]


def test_the_quicker_way_is_tried_once_for_a_large_table_and_never_for_a_small_one(
    rows, nothing_kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    seconds = {"force_row_wise": 2.0, "force_col_wise": 1.0}
    monkeypatch.setattr(nothing_kept.Binned, "_seconds", lambda self, params, way: tried.append(way) or seconds[way])
    data = rows(dates=150)
    head, tail = teaching_rows(data, FitContext(), frozenset({"regression"}), 0.2)
    binned = nothing_kept.Binned(data, head, tail, FitContext())
    assert binned.quicker_way(SETTINGS) == "force_row_wise"
    assert tried == []
    monkeypatch.setattr(nothing_kept, "_PROBED_VALUES", 1)
    assert [binned.quicker_way(SETTINGS) for _ in range(3)] == ["force_col_wise"] * 3
    assert tried == ["force_row_wise", "force_col_wise"]


def test_a_probe_leaves_the_fit_as_it_was(rows, nothing_kept, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(dates=200)
    before = train(data, FitContext()).predict(data.x)
    monkeypatch.setattr(nothing_kept, "_PROBED_VALUES", 1)
    assert np.array_equal(train(data, FitContext()).predict(data.x), before)
    assert len(nothing_kept._chosen) == 1


def test_the_text_speaks_of_the_features_as_they_are(rows) -> None:
    import lightgbm

    data = rows(dates=200)
    data = replace(data, x=data.x - 100)
    model = lightgbm.Booster(model_str=train(data, FitContext(), share=0)._text)
    trees = model.trees_to_dataframe()
    assert trees["threshold"].dropna().between(data.x.min(), data.x.max()).all()
    infos = model.dump_model()["feature_infos"]
    for column, name in enumerate(model.feature_name()):
        assert infos[name]["min_value"] == pytest.approx(data.x[:, column].min())
        assert infos[name]["max_value"] == pytest.approx(data.x[:, column].max())


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
