"""The training loop, with a linear model in numpy as the net."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData, FloatArray
from raytrain.engines.epochs import NetParams, NetShape, expected_epochs, expected_steps, predict, row_loss, train
from raytrain.engines.training import teaching_rows
from raytrain.errors import FitError


class Linear:
    """y = x @ w by gradient descent on squared error; notes what it is shown."""

    def __init__(self, num_features: int) -> None:
        self.w = np.zeros((num_features, 1), dtype=np.float32)
        self.shapes: list[tuple[int, ...]] = []
        self.batches: list[FloatArray] = []
        self.weights: list[FloatArray] = []
        self.rates: list[float] = []
        self.poisoned_step = -1

    def step(self, x: FloatArray, y: FloatArray, weight: FloatArray, rate: float) -> float:
        self.shapes.append(x.shape)
        self.batches.append(x)
        self.weights.append(weight)
        self.rates.append(rate)
        error = x @ self.w - y
        self.w = self.w - rate * 2 * x.T @ (weight[:, None] * error) / len(x)
        if len(self.rates) == self.poisoned_step:
            return float("nan")
        return float((weight[:, None] * error**2).mean())

    def predict(self, x: FloatArray) -> FloatArray:
        self.shapes.append(x.shape)
        return (x @ self.w)[..., None]

    def snapshot(self) -> FloatArray:
        return self.w.copy()

    def restore(self, snapshot: FloatArray) -> None:
        self.w = snapshot

    def save_state(self, folder: Path) -> None:
        np.save(folder / "w.npy", self.w)

    def load_state(self, folder: Path) -> None:
        self.w = np.load(folder / "w.npy")


class Lazy:
    """Rows that exist only where they are asked for, a few at a time."""

    def __init__(self, x: FloatArray, most: int) -> None:
        self.x, self.most, self.shape = x, most, x.shape

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: np.ndarray) -> FloatArray:
        assert len(rows) <= self.most
        return self.x[rows]


def stop_at(step: int | None) -> Callable[[], bool]:
    """A `should_stop` that says so once, after that many steps."""
    asked = itertools.count(1)
    return lambda: next(asked) == step


def run(data: FitData, context: FitContext | None = None, learner: Linear | None = None, **params: float) -> Linear:
    context, learner = context or FitContext(), learner or Linear(data.x.shape[1])
    settings = NetParams(**({"num_epochs": 20, "batch_size": 16, "learning_rate": 0.1} | params))
    split = teaching_rows(data, context, frozenset({"regression", "binary"}), settings.valid_share)
    train(learner, data, split, settings, context)
    return learner


def test_it_learns(rows: Callable[..., FitData]) -> None:
    assert run(rows()).w[0, 0] == pytest.approx(1.0, abs=0.15)


def test_every_batch_has_one_shape(rows: Callable[..., FitData]) -> None:
    assert set(run(rows(dates=61)).shapes) == {(16, 4)}


def test_a_batch_is_never_larger_than_the_rows(rows: Callable[..., FitData]) -> None:
    data = rows(dates=10, horizon=1)
    assert set(run(data, batch_size=4096, valid_share=0).shapes) == {(20, 4)}


def test_windows_are_never_made_as_a_whole(rows: Callable[..., FitData]) -> None:
    data = rows(dates=100)
    lazy = Lazy(data.x[:], most=16)
    assert run(replace(data, x=lazy)).w.tolist() == run(data).w.tolist()
    assert predict(lambda x: x[..., None], lazy, np.arange(200), 16).shape == (200, 4, 1)


def test_the_seed_decides_the_first_batch(rows: Callable[..., FitData]) -> None:
    data = rows()
    first = [run(data, FitContext(seed=seed)).batches[0].tolist() for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_the_rows_left_over_differ_between_epochs(rows: Callable[..., FitData]) -> None:
    data = rows(dates=17, horizon=1)
    learner = run(data, batch_size=32, valid_share=0, num_epochs=2)
    assert sorted(learner.batches[0].tolist()) != sorted(learner.batches[1].tolist())


def test_the_best_weights_come_back_and_patience_ends_it(rows: Callable[..., FitData]) -> None:
    data = rows(dates=100)
    seen: list[float] = []
    tail = teaching_rows(data, FitContext(), frozenset({"regression"}), 0.15).tail

    class Watched(Linear):
        def snapshot(self) -> FloatArray:
            seen.append(self.tail_loss())
            return super().snapshot()

        def tail_loss(self) -> float:
            predicted = (data.x[tail] @ self.w)[..., None].astype(np.float64)
            return float(row_loss(data.y[tail], predicted, FitContext()).mean())

    # A rate at which the weights jump about, so that the last epoch is not the best one.
    learner = Watched(4)
    run(data, learner=learner, learning_rate=0.9, num_epochs=60, patience=3)
    epochs = len(learner.rates) / (len(teaching_rows(data, FitContext(), frozenset({"regression"}), 0.15).head) // 16)
    assert epochs < 60
    assert learner.tail_loss() == min(seen)


def test_without_a_tail_all_epochs_run(rows: Callable[..., FitData]) -> None:
    told: list[float] = []
    run(rows(), FitContext(progress=told.append), valid_share=0, num_epochs=4, patience=1)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_the_rate_falls_to_a_hundredth(rows: Callable[..., FitData]) -> None:
    rates = run(rows(), valid_share=0, num_epochs=50, learning_rate=0.1).rates
    assert rates[0] == 0.1
    assert rates == sorted(rates, reverse=True)
    assert 0.001 < rates[-1] < 0.0012


def test_steps_are_limited_and_the_rate_still_falls_to_its_end(rows: Callable[..., FitData]) -> None:
    told: list[float] = []
    learner = run(rows(), FitContext(progress=told.append), valid_share=0, max_steps=10)  # of seven batches per epoch
    assert len(learner.rates) == 10
    assert learner.rates == sorted(learner.rates, reverse=True)
    assert learner.rates[-1] < 0.05 * learner.rates[0]
    assert told == [0.5, 1.0]


def test_more_steps_than_the_epochs_have_limit_nothing(rows: Callable[..., FitData]) -> None:
    limited, free = (run(rows(), num_epochs=3, **limit) for limit in ({"max_steps": 10_000}, {}))
    assert limited.w.tolist() == free.w.tolist()


def test_a_training_shorter_than_an_epoch_is_judged_on_the_tail(rows: Callable[..., FitData]) -> None:
    taken: list[FloatArray] = []

    class Watched(Linear):
        def snapshot(self) -> FloatArray:
            taken.append(self.w.copy())
            return super().snapshot()

    run(rows(), learner=Watched(4), max_steps=2)
    assert len(taken) == 1


def test_a_stop_is_heard_at_the_next_batch(rows: Callable[..., FitData]) -> None:
    told: list[float] = []
    learner = run(rows(), FitContext(should_stop=stop_at(3), progress=told.append))
    assert len(learner.rates) == 3
    assert learner.w.any()
    assert told == []


@pytest.mark.parametrize("stops", [(1,), (5,), (6,), (25, 1, 1, 9)])
def test_a_stopped_training_goes_on_to_the_same_weights(
    rows: Callable[..., FitData], tmp_path: Path, stops: tuple[int, ...]
) -> None:
    # Five batches per epoch, at a rate at which the last epoch is not the best.
    settings = {"learning_rate": 0.9, "num_epochs": 12, "patience": 4}
    whole = run(rows(), **settings)
    parts = []
    for stop in (*stops, None):
        parts.append(run(rows(), FitContext(should_stop=stop_at(stop), checkpoint=tmp_path), **settings))
    assert not np.array_equal(parts[0].w, whole.w)
    assert parts[-1].w.tolist() == whole.w.tolist()
    assert [batch.tolist() for part in parts for batch in part.batches] == [batch.tolist() for batch in whole.batches]
    assert [rate for part in parts for rate in part.rates] == whole.rates


def test_a_stopped_training_predicts_with_the_best_weights_so_far(rows: Callable[..., FitData], tmp_path: Path) -> None:
    kept = []
    for checkpoint in (None, tmp_path):
        context = FitContext(should_stop=stop_at(21), checkpoint=checkpoint)
        kept.append(run(rows(), context, learning_rate=0.9).w.tolist())
    assert kept[0] == kept[1]


@pytest.mark.parametrize("other", [{"num_epochs": 30}, {"learning_rate": 0.2}, {"seed": 7}, {"rows_of": 1}])
def test_the_state_of_another_fit_is_not_gone_on_from(
    rows: Callable[..., FitData], tmp_path: Path, other: dict[str, Any]
) -> None:
    def fit(*, seed: int = 42, rows_of: int = 0, stop: int | None = None, **params: float) -> Linear:
        context = FitContext(seed=seed, should_stop=stop_at(stop), checkpoint=tmp_path)
        return run(rows(seed=rows_of), context, **params)

    fit(stop=20)
    resumed = fit(**other)
    shutil.rmtree(tmp_path / "training")
    assert resumed.w.tolist() == fit(**other).w.tolist()


def test_a_loss_that_is_not_a_number_after_going_on_names_its_batch(
    rows: Callable[..., FitData], tmp_path: Path
) -> None:
    run(rows(), FitContext(should_stop=stop_at(9), checkpoint=tmp_path))
    learner = Linear(4)
    learner.poisoned_step = 1  # after nine steps, of five per epoch
    with pytest.raises(FitError, match=r"became nan in epoch 2, batch 5"):
        run(rows(), FitContext(checkpoint=tmp_path), learner=learner)


def test_a_loss_that_is_not_a_number_names_epoch_and_batch(rows: Callable[..., FitData]) -> None:
    data = rows(dates=16, horizon=1)
    learner = Linear(4)
    learner.poisoned_step = 5  # of two batches per epoch
    with pytest.raises(FitError, match=r"became nan in epoch 3, batch 1; lower learning_rate \(0.1\)"):
        run(data, learner=learner, valid_share=0)


def test_weights_reach_the_learner_with_mean_one(rows: Callable[..., FitData]) -> None:
    data = rows(dates=8)
    weight = np.where(np.arange(16) < 8, 50, 150).astype(np.float32)
    learner = run(replace(data, weight=weight), valid_share=0, num_epochs=1)
    assert sorted(set(learner.weights[0].tolist())) == [0.5, 1.5]


def test_the_weights_of_the_tail_count(rows: Callable[..., FitData]) -> None:
    data = rows(dates=100)
    tail = teaching_rows(data, FitContext(), frozenset({"regression"}), 0.15).tail
    y, weight = data.y.copy(), data.weight.copy()
    y[tail[::3]] *= -1  # a third gets worse as the net learns, and outweighs the others
    weight[tail[::3]] = 1e4
    told: list[float] = []
    run(replace(data, y=y, weight=weight), FitContext(progress=told.append), learning_rate=0.01, patience=2)
    assert len(told) == 3


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_predict_returns_every_chosen_row_once(size: int) -> None:
    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    chosen = np.array([6, 0, 3, 4, 1])
    np.testing.assert_array_equal(predict(lambda batch: batch[..., None], x, chosen, size), x[chosen][..., None])


def test_row_loss_is_pinball_or_cross_entropy() -> None:
    y = np.array([[1.0], [0.0]], dtype=np.float32)
    quantiles = np.array([[[0.0, 2.0]], [[1.0, 1.0]]])
    context = FitContext(quantiles=(0.1, 0.9))
    np.testing.assert_allclose(row_loss(y, quantiles, context), [(0.1 + 0.1) / 2, (0.9 + 0.1) / 2])
    binary = row_loss(y, np.array([[[0.5]], [[0.75]]]), FitContext(task="binary"))
    np.testing.assert_allclose(binary, [np.log(2), np.log(4)])


def test_the_shape_of_a_net_follows_the_data(rows: Callable[..., FitData]) -> None:
    data = rows()
    assert NetShape.of(data, FitContext(quantiles=(0.2, 0.8)), 16) == NetShape(
        num_features=4, num_outputs=1, levels=(0.2, 0.8)
    )
    windows = replace(data, x=np.zeros((len(data.y), 5, 3), dtype=np.float32))
    assert NetShape.of(windows, FitContext(task="binary"), 16) == NetShape(num_features=3, num_outputs=1, steps=5)


@pytest.mark.parametrize("windows", [False, True])
def test_codes_are_counted_over_all_training_rows_in_batches(rows: Callable[..., FitData], windows: bool) -> None:
    data = rows(dates=20)
    x = np.zeros((40, 3, 4) if windows else (40, 4), dtype=np.float32)
    x[17, ..., 3], x[39, ..., 1] = 5, 2
    shape = NetShape.of(replace(data, x=Lazy(x, most=16)), FitContext(categorical=(1, 3)), 16)
    assert shape.categories == ((1, 3), (3, 6))


def test_a_shape_survives_json() -> None:
    shape = NetShape(num_features=4, num_outputs=2, steps=3, levels=(0.1, 0.9), categories=((1, 3), (3, 6)))
    for one in (shape, replace(shape, levels=None, categories=())):
        assert NetShape.from_json(json.loads(json.dumps(asdict(one)))) == one


def test_expected_epochs_are_all_without_early_stopping() -> None:
    assert expected_epochs(NetParams(num_epochs=100, valid_share=0)) == 100
    assert expected_epochs(NetParams(num_epochs=100)) < 100
    assert expected_epochs(NetParams(num_epochs=3)) == 3


def test_expected_steps_are_those_of_the_epochs_unless_they_are_limited() -> None:
    params = NetParams(num_epochs=3, batch_size=100, valid_share=0)
    assert expected_steps(params, 1000) == 30
    assert expected_steps(params.model_copy(update={"max_steps": 7}), 1000) == 7
    assert expected_steps(params.model_copy(update={"valid_share": 0.2}), 1000) == pytest.approx(24)
