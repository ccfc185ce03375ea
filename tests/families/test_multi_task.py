from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData, Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.multi_task import MultiTask, MultiTaskParams

CONTEXT = FitContext(quantiles=(0.1, 0.5, 0.9), horizons=(1, 5, 21))
QUICK = {"num_epochs": 15, "batch_size": 64, "learning_rate": 0.01, "dropout": 0.0}


@pytest.fixture
def data(make_data: Callable[..., FitData]) -> FitData:
    """Three outputs, each follows a feature of its own; the last one is by far the noisiest."""
    made = make_data(600)
    noise = np.random.default_rng(1).standard_normal((600, 3)) * [0.2, 0.2, 4.0]
    return replace(made, y=(made.x + noise).astype(np.float32))


def noises(model: MultiTask) -> np.ndarray:
    """The learned scale of each output."""
    from raytrain.families.multi_task import _NOISE_PACE

    [part] = model._net.parts
    [log_noise] = [variable for variable in part.variables if variable.name == "log_noise"]
    return np.exp(_NOISE_PACE * log_noise.value.numpy())


def test_it_forecasts_several_targets_at_once() -> None:
    assert MultiTask.multi_output


def test_more_horizons_or_a_wider_net_need_more() -> None:
    shape = Shape(rows=5_000, features=40, outputs=1, quantiles=3)
    small = MultiTask.needs(MultiTaskParams(), shape)
    for needs in (
        MultiTask.needs(MultiTaskParams(), replace(shape, outputs=5)),
        MultiTask.needs(MultiTaskParams(hidden=(512, 512)), shape),
    ):
        assert needs.work > small.work
        assert needs.memory_bytes > small.memory_bytes


@pytest.mark.keras
@pytest.mark.parametrize("balance", ["uncertainty", "equal"])
def test_every_horizon_learns_its_own_signal(data: FitData, balance: str) -> None:
    predicted = MultiTask(MultiTaskParams(**QUICK, balance=balance)).fit(data, CONTEXT).predict(data.x)
    assert predicted.shape == (600, 3, 3)
    assert (np.diff(predicted, axis=-1) >= 0).all()
    follows = np.corrcoef(predicted[:, :, 1].T, data.x.T)[:3, 3:]
    assert (np.diag(follows)[:2] > 0.9).all()
    assert (follows.argmax(axis=1)[:2] == [0, 1]).all()


@pytest.mark.keras
def test_the_trunk_is_shared_and_every_horizon_has_a_head() -> None:
    import keras

    shape = NetShape(num_features=5, num_outputs=3, levels=(0.1, 0.9))
    net = MultiTask(MultiTaskParams(hidden=(6, 4), num_head=7)).build(shape).model
    units = [layer.units for layer in net.layers if isinstance(layer, keras.layers.Dense)]
    assert units[:2] == [6, 4]
    assert sorted(units[2:]) == [2, 2, 2, 7, 7, 7]
    x = np.random.default_rng(0).standard_normal((8, 5), dtype=np.float32)
    for variable in net.weights:  # a head starts as zeros, which hide what comes before it
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    before = net(x).numpy()
    heads = [layer for layer in net.layers if isinstance(layer, keras.layers.Dense) and layer.units == 7]
    heads[1].kernel.assign(heads[1].kernel + 1)
    changed = (net(x).numpy() != before).any(axis=(0, 2))
    assert changed.tolist() == [False, True, False]


@pytest.mark.keras
def test_a_noisy_horizon_counts_for_less(data: FitData) -> None:
    model = MultiTask(MultiTaskParams(**QUICK, valid_share=0.0)).fit(data, CONTEXT)
    scale = noises(model)
    assert scale[2] > 2 * scale[:2].max()


@pytest.mark.keras
def test_the_learned_scale_is_where_the_likelihood_is_highest() -> None:
    """For the loss exp(-s) L + s that is s = log L (Kendall et al. 2018)."""
    from keras import ops

    from raytrain.families.multi_task import _NOISE_PACE, _balanced

    shape = NetShape(num_features=1, num_outputs=1, levels=(0.5,))
    y, x = ops.convert_to_tensor(np.full((4, 1), 3.0, dtype=np.float32)), ops.zeros((4, 1))

    def loss(log_scale: float) -> float:
        log_noise = ops.convert_to_tensor([log_scale / _NOISE_PACE], dtype="float32")
        found = _balanced(lambda x, training: ops.zeros((4, 1, 1)), shape, log_noise)(x, y, 0.0)
        return float(ops.mean(found))

    best = np.log(1.5)  # the pinball loss of an error of 3 at the median
    assert loss(best) == pytest.approx(1 + best, rel=1e-5)
    assert loss(best) < min(loss(best - 0.1), loss(best + 0.1))
