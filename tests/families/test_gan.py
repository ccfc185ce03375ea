from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from raytrain.engines.base import FitContext, FitData, Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.gan import GAN, GANParams, _ranks

LEVELS = (0.1, 0.5, 0.9)
CONTEXT = FitContext(quantiles=LEVELS)
SHAPE = NetShape(num_features=3, num_outputs=1, levels=LEVELS)
QUICK = {"num_epochs": 30, "batch_size": 64, "num_samples": 100}


def x_of(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 3), dtype=np.float32)


def losses(net: object, x: np.ndarray, y: np.ndarray) -> list[float]:
    """The mean loss of the discriminator and of the generator."""
    from keras import ops

    tensors = [ops.convert_to_tensor(values, dtype="float32") for values in (x, y, 0.0)]
    return [float(ops.mean(part.row_loss(*tensors))) for part in net.parts]


def kernels(part: object) -> list[np.ndarray]:
    return [v.value.numpy() for v in part.variables if v.trainable and len(v.shape) == 2]


def test_places_of_the_quantiles_are_not_biased() -> None:
    samples = np.sort(np.random.default_rng(0).random((4000, 99)), axis=1)
    levels = (0.05, 0.1, 0.5, 0.9)
    np.testing.assert_allclose(samples[:, _ranks(levels, 99)].mean(axis=0), levels, atol=0.005)
    assert _ranks((0.001, 0.999), 20) == [0, 19]


def test_more_samples_or_wider_nets_need_more() -> None:
    shape = Shape(rows=5_000, features=40, quantiles=3)
    small = GAN.needs(GANParams(), shape)
    for more in ({"num_samples": 5_000}, {"num_drawn": 64}, {"hidden": (512, 512)}):
        needs = GAN.needs(GANParams(**more), shape)
        assert needs.work > small.work
        assert needs.memory_bytes > small.memory_bytes


@pytest.mark.keras
def test_untrained_samples_are_normal_and_their_quantiles_are_the_forecast() -> None:
    net = GAN(GANParams(num_samples=2000)).build(SHAPE)
    predicted = net.model(x_of(5)).numpy()
    assert predicted.shape == (5, 1, 3)
    np.testing.assert_allclose(predicted, np.broadcast_to(stats.norm.ppf(LEVELS), (5, 1, 3)), atol=0.15)
    assert np.ptp(predicted, axis=0).max() < 1e-6  # the same noise for every row


@pytest.mark.keras
def test_the_two_nets_learn_apart() -> None:
    from raytrain.engines import keras_loop

    params = GANParams(weight_decay=0)
    net = GAN(params).build(SHAPE)
    learner = keras_loop.learner(net, SHAPE, params, CONTEXT)
    x = x_of(64)
    before = [kernels(part) for part in net.parts]
    ids = [{id(v) for v in part.variables if v.trainable} for part in net.parts]
    assert not ids[0] & ids[1]
    learner.step(x, x[:, :1], np.ones(64, dtype=np.float32), 1e-3)
    for part, kept in zip(net.parts, before, strict=True):
        assert any(not np.array_equal(a, b) for a, b in zip(kernels(part), kept, strict=True))


@pytest.mark.keras
def test_the_discriminator_has_spectral_norm_one() -> None:
    from raytrain.engines import keras_loop

    params = GANParams(weight_decay=0)
    net = GAN(params).build(SHAPE)
    learner = keras_loop.learner(net, SHAPE, params, CONTEXT)
    x = x_of(64)
    for _ in range(30):
        learner.step(x, x[:, :1], np.ones(64, dtype=np.float32), 1e-6)
    norms = [np.linalg.norm(kernel, 2) for kernel in kernels(net.parts[0])]
    np.testing.assert_allclose(norms, 1, rtol=0.02)


@pytest.mark.keras
def test_a_discriminator_tells_what_is_real_and_a_generator_lives_from_its_mistakes() -> None:
    from raytrain.engines import keras_loop

    params = GANParams(discriminator_pace=100, weight_decay=0)
    net = GAN(params).build(SHAPE)
    learner = keras_loop.learner(net, SHAPE, params, CONTEXT)
    x = x_of(256)
    far = x[:, :1] + 6.0
    first = losses(net, x, far)
    for _ in range(40):
        learner.step(x, far, np.ones(256, dtype=np.float32), 1e-4)
    last = losses(net, x, far)
    assert last[0] < 0.5 * first[0]
    assert last[1] > first[1]


@pytest.mark.keras
def test_samples_follow_the_features_in_middle_and_spread(make_data: Callable[..., FitData]) -> None:
    made = make_data(1500)
    spread = np.where(made.x[:, 1] > 0, 1.0, 0.2)
    y = made.x[:, 0] + spread * np.random.default_rng(1).standard_normal(1500)
    data = replace(made, y=y.astype(np.float32)[:, None])
    predicted = GAN(GANParams(**QUICK, patience=30)).fit(data, CONTEXT).predict(data.x)[:, 0]
    assert (np.diff(predicted, axis=1) >= 0).all()
    assert np.corrcoef(predicted[:, 1], data.x[:, 0])[0, 1] > 0.9
    width = predicted[:, 2] - predicted[:, 0]
    assert width[data.x[:, 1] > 0.5].mean() > 1.3 * width[data.x[:, 1] < -0.5].mean()
