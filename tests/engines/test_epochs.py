"""The training loop, with a linear model in numpy as the net."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData, FloatArray
from raytrain.engines.epochs import NetParams, NetShape, expected_epochs, predict, row_loss, train
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


class Lazy:
    """Rows that exist only where they are asked for, a few at a time."""

    def __init__(self, x: FloatArray, most: int) -> None:
        self.x, self.most, self.shape = x, most, x.shape

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: np.ndarray) -> FloatArray:
        assert len(rows) <= self.most
        return self.x[rows]


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
    assert predict(lambda x: x[..., None], lazy, 16).shape == (200, 4, 1)


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


def test_a_stop_is_heard_at_the_next_batch(rows: Callable[..., FitData]) -> None:
    asked = iter([False, False, True])
    told: list[float] = []
    learner = run(rows(), FitContext(should_stop=lambda: next(asked), progress=told.append))
    assert len(learner.rates) == 3
    assert learner.w.any()
    assert told == []


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
def test_predict_returns_every_row_once(size: int) -> None:
    x = np.arange(14, dtype=np.float32).reshape(7, 2)
    np.testing.assert_array_equal(predict(lambda batch: batch[..., None], x, size), x[..., None])


def test_row_loss_is_pinball_or_cross_entropy() -> None:
    y = np.array([[1.0], [0.0]], dtype=np.float32)
    quantiles = np.array([[[0.0, 2.0]], [[1.0, 1.0]]])
    context = FitContext(quantiles=(0.1, 0.9))
    np.testing.assert_allclose(row_loss(y, quantiles, context), [(0.1 + 0.1) / 2, (0.9 + 0.1) / 2])
    binary = row_loss(y, np.array([[[0.5]], [[0.75]]]), FitContext(task="binary"))
    np.testing.assert_allclose(binary, [np.log(2), np.log(4)])


def test_the_shape_of_a_net_follows_the_data(rows: Callable[..., FitData]) -> None:
    data = rows()
    assert NetShape.of(data, FitContext(quantiles=(0.2, 0.8))) == NetShape(
        num_features=4, num_outputs=1, levels=(0.2, 0.8)
    )
    windows = replace(data, x=np.zeros((len(data.y), 5, 3), dtype=np.float32))
    assert NetShape.of(windows, FitContext(task="binary")) == NetShape(num_features=3, num_outputs=1, steps=5)


def test_expected_epochs_are_all_without_early_stopping() -> None:
    assert expected_epochs(NetParams(num_epochs=100, valid_share=0)) == 100
    assert expected_epochs(NetParams(num_epochs=100)) < 100
    assert expected_epochs(NetParams(num_epochs=3)) == 3
