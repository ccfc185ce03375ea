from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.engines.epochs import NetParams, NetShape

pytestmark = pytest.mark.torch

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture
def build() -> Callable[..., object]:
    def make(levels: tuple[float, ...] | None = LEVELS) -> object:
        from raytrain.nets.recurrent import RecurrentNet

        return RecurrentNet(3, 1, levels, cell="lstm", num_hidden=4, num_layers=2, dropout=0.5)

    return make


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8, 5, 3), dtype=np.float32)
    return x, x[:, -1, :1], np.ones(8, dtype=np.float32)


@pytest.mark.parametrize("levels", [LEVELS, None])
def test_steps_lower_the_loss(build, levels) -> None:
    from raytrain.engines import torch_loop

    context = FitContext(task="regression" if levels else "binary", quantiles=LEVELS)
    torch_loop.prepare(context)
    shape = NetShape(num_features=3, num_outputs=1, steps=5, levels=levels)
    learner = torch_loop.learner(build(levels), shape, NetParams(), context)
    x, y, weight = batch()
    y = y if levels else (y > 0).astype(np.float32)
    losses = [float(learner.step(x, y, weight, 0.05)) for _ in range(100)]
    assert np.mean(losses[-10:]) < 0.7 * losses[0]  # the net drops half of its units


def test_pinball_agrees_with_a_loop() -> None:
    import torch

    from raytrain.engines.torch_loop import pinball

    y, predicted = torch.tensor([[1.0], [0.0]]), torch.tensor([[[0.0, 0.5, 3.0]], [[-1.0, 0.0, 1.0]]])
    found = pinball(predicted, y[..., None], LEVELS)
    for row in range(2):
        for q, level in enumerate(LEVELS):
            error = float(y[row, 0] - predicted[row, 0, q])
            assert float(found[row, 0, q]) == pytest.approx(level * error if error >= 0 else (level - 1) * error)


def test_the_rate_is_the_one_given_and_gradients_are_clipped(build) -> None:
    from raytrain.engines import torch_loop

    torch_loop.prepare(FitContext())
    shape = NetShape(num_features=3, num_outputs=1, steps=5, levels=LEVELS)
    moved = []
    for rate in (1e-3, 1e-2):
        torch_loop.prepare(FitContext())
        net = build()
        learner = torch_loop.learner(net, shape, NetParams(weight_decay=0, clip_norm=0.01), FitContext())
        before = learner.snapshot()
        x, y, weight = batch()
        learner.step(x * 1000, y * 1000, weight, rate)
        norm = sum(float(parameter.grad.square().sum()) for parameter in net.parameters()) ** 0.5
        assert norm == pytest.approx(0.01, rel=1e-3)
        moved.append(max(float((value - before[name]).abs().max()) for name, value in learner.snapshot().items()))
    np.testing.assert_allclose(moved, [1e-3, 1e-2], rtol=0.01)  # Adam's first step is as long as its rate


def test_predicting_uses_no_dropout_and_leaves_training_on(build) -> None:
    from raytrain.engines import torch_loop

    torch_loop.prepare(FitContext())
    shape = NetShape(num_features=3, num_outputs=1, steps=5, levels=LEVELS)
    net = build()
    learner = torch_loop.learner(net, shape, NetParams(), FitContext())
    x, y, weight = batch()
    assert np.array_equal(learner.predict(x), learner.predict(x))
    learner.step(x, y, weight, 0.0)
    assert net.training


def test_a_restored_net_is_the_one_of_the_snapshot(build) -> None:
    from raytrain.engines import torch_loop

    torch_loop.prepare(FitContext())
    shape = NetShape(num_features=3, num_outputs=1, steps=5, levels=LEVELS)
    learner = torch_loop.learner(build(), shape, NetParams(), FitContext())
    x, y, weight = batch()
    before, snapshot = learner.predict(x), learner.snapshot()
    learner.step(x, y, weight, 0.1)
    assert not np.array_equal(learner.predict(x), before)
    learner.restore(snapshot)
    assert np.array_equal(learner.predict(x), before)


def test_another_learner_goes_on_from_the_state_to_the_bit(build, tmp_path: Path) -> None:
    from raytrain.engines import torch_loop

    shape = NetShape(num_features=3, num_outputs=1, steps=5, levels=LEVELS)

    def new(seed: int) -> object:
        torch_loop.prepare(FitContext(seed=seed))
        return torch_loop.learner(build(), shape, NetParams(), FitContext())

    def steps(learner, seeds: range) -> list[float]:
        return [float(learner.step(*batch(seed), 0.01)) for seed in seeds]

    first = new(1)
    steps(first, range(3))
    first.save_state(tmp_path)
    losses = steps(first, range(3, 8))
    other = new(2)
    steps(other, range(5))
    other.load_state(tmp_path)
    assert steps(other, range(3, 8)) == losses
    assert np.array_equal(other.predict(batch()[0]), first.predict(batch()[0]))
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}


def test_a_state_holds_the_order_of_dropout(build, tmp_path: Path) -> None:
    """Without the random generators, the same weights would learn from other masks."""
    import torch

    from raytrain.engines import torch_loop

    torch_loop.prepare(FitContext())
    shape = NetShape(num_features=3, num_outputs=1, steps=5, levels=LEVELS)
    learner = torch_loop.learner(build(), shape, NetParams(), FitContext())
    learner.save_state(tmp_path)
    drawn = torch.rand(4)
    assert not torch.equal(torch.rand(4), drawn)
    learner.load_state(tmp_path)
    assert torch.equal(torch.rand(4), drawn)


def test_files_hold_the_weights(build, tmp_path: Path) -> None:
    import torch

    from raytrain.engines import torch_loop

    torch.manual_seed(1)
    net = build()
    torch_loop.save(net, tmp_path)
    torch.manual_seed(2)
    loaded = torch_loop.load(build, tmp_path)
    shape = NetShape(num_features=3, num_outputs=1, steps=5, levels=LEVELS)
    x, _, _ = batch()
    assert np.array_equal(torch_loop.forward(net, shape)(x), torch_loop.forward(loaded, shape)(x))


def test_threads_are_capped() -> None:
    import torch

    from raytrain.engines import torch_loop

    torch_loop.prepare(FitContext(threads=2))
    assert torch.get_num_threads() == 2
    torch_loop.prepare(FitContext(threads=1))
    assert torch.get_num_threads() == torch.get_num_interop_threads() == 1
