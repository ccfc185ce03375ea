from collections.abc import Callable

import numpy as np
import pytest
from scipy import integrate, stats

from raytrain.engines.base import FitContext, FitData, Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.vae import VAE, VAEParams

CONTEXT = FitContext(quantiles=(0.1, 0.5, 0.9))
QUICK = {"num_epochs": 15, "batch_size": 64, "learning_rate": 0.01, "warm_up_steps": 10, "dropout": 0.0}


@pytest.fixture
def data(make_data: Callable[..., FitData]) -> FitData:
    return make_data(400)


def fitted(data: FitData, **params: float) -> VAE:
    return VAE(VAEParams(**QUICK | params)).fit(data, CONTEXT)


def inner(model: VAE, num_inputs: int, num_outputs: int) -> object:
    """The encoder, decoder or forecast inside what predicts, found by its shape."""
    import keras

    nets = [layer for layer in model._net.model.layers if isinstance(layer, keras.Model)]
    [found] = [net for net in nets if (net.inputs[0].shape[1], len(net.outputs)) == (num_inputs, num_outputs)]
    return found


def loss_of(model: VAE, data: FitData, step: float = 1e6) -> np.ndarray:
    from keras import ops

    [part] = model._net.parts
    tensors = (ops.convert_to_tensor(values, dtype="float32") for values in (data.x, data.y, step))
    return np.asarray(part.row_loss(*tensors).numpy())


def test_more_latent_features_or_a_wider_net_need_more() -> None:
    shape = Shape(rows=5_000, features=40, quantiles=3)
    small = VAE.needs(VAEParams(), shape)
    for more in ({"num_latent": 512}, {"hidden": (512, 512)}):
        assert VAE.needs(VAEParams(**more), shape).work > small.work


@pytest.mark.keras
def test_the_divergence_is_the_integral_it_stands_for() -> None:
    from keras import ops

    from raytrain.families.vae import divergence

    mean, log_variance = [[0.3, -1.2], [0.0, 0.0]], [[0.5, -0.8], [0.0, 0.0]]
    found = divergence(ops.convert_to_tensor(mean), ops.convert_to_tensor(log_variance)).numpy()

    def one(m: float, v: float) -> float:
        q = stats.norm(m, np.exp(v / 2))
        return float(integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), -12, 12)[0])

    expected = [sum(one(m, v) for m, v in zip(*row, strict=True)) for row in zip(mean, log_variance, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.keras
def test_a_forecast_is_read_off_the_mean_of_the_latent_features(data: FitData) -> None:
    from keras import ops

    model = fitted(data)
    mean, _ = inner(model, 3, 2)(ops.convert_to_tensor(data.x))
    assert mean.shape == (400, 8)
    np.testing.assert_allclose(inner(model, 8, 1)(mean).numpy(), model.predict(data.x), atol=1e-5)
    # Nothing reaches the forecast around the latent features: without them it is the same for every row.
    blind = inner(model, 8, 1)(ops.zeros_like(mean)).numpy()
    assert np.ptp(blind, axis=0).max() == 0
    assert model.predict(data.x)[:, 0, 1].std() > 0.3


@pytest.mark.keras
def test_training_draws_the_latent_features_around_their_mean(data: FitData) -> None:
    model = fitted(data)
    assert not np.array_equal(loss_of(model, data), loss_of(model, data))
    assert np.array_equal(model.predict(data.x), model.predict(data.x))


@pytest.mark.keras
def test_the_divergence_is_in_the_loss_and_warms_up(data: FitData) -> None:
    model = VAE(VAEParams(**QUICK | {"beta": 3.0, "reconstruction_weight": 1.0}))
    weights = [float(model._kl_weight(step)) for step in (0.0, 4.5, 10.0, 99.0)]
    np.testing.assert_allclose(weights, [3 / 11, 1.5, 3.0, 3.0], rtol=1e-6)
    model.fit(data, CONTEXT)
    assert loss_of(model, data, step=1e6).mean() > loss_of(model, data, step=0.0).mean()


@pytest.mark.keras
def test_a_heavier_divergence_leaves_less_in_the_latent_features(data: FitData) -> None:
    from keras import ops

    from raytrain.families.vae import divergence

    nats = [
        float(ops.mean(divergence(*inner(fitted(data, beta=beta), 3, 2)(ops.convert_to_tensor(data.x)))))
        for beta in (0.0, 10.0)
    ]
    assert nats[1] < 0.5 * nats[0]


@pytest.mark.keras
def test_the_decoder_learns_to_rebuild_the_features() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((400, 1)) * np.ones(6) + 0.1 * rng.standard_normal((400, 6))).astype(np.float32)
    day = np.arange(400) * 86_400 * 10**9
    data = FitData(
        x=x,
        y=rng.standard_normal((400, 1)).astype(np.float32),
        weight=np.ones(400, dtype=np.float32),
        date=day,
        label_date=day,
        series=np.zeros(400, dtype=np.int32),
    )
    rebuilt, ignored = (
        loss_of(fitted(data, beta=0.0, reconstruction_weight=weight, valid_share=0.0), data).mean()
        for weight in (1.0, 1e-9)
    )
    # Unexplained, the features would cost 0.5 nats each; one latent feature explains all but a hundredth of that.
    assert rebuilt - ignored < 0.25


@pytest.mark.keras
def test_codes_are_rebuilt_as_columns_of_zeros_and_ones() -> None:
    shape = NetShape(num_features=3, num_outputs=1, levels=(0.5,), categories=((2, 5),))
    net = VAE(VAEParams()).build(shape)
    [part] = net.parts
    assert (64, 2 + 4) in [tuple(variable.shape) for variable in part.variables]  # the decoder's last layer
