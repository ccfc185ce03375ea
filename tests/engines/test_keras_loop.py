import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.engines.epochs import NetParams, NetShape

pytestmark = pytest.mark.keras

LEVELS = (0.05, 0.4, 0.7, 0.9)
SHAPE = NetShape(num_features=3, num_outputs=2, levels=LEVELS)


@pytest.fixture
def build() -> Callable[..., object]:
    def make(shape: NetShape = SHAPE) -> object:
        import keras

        from raytrain.engines import keras_loop

        keras_loop.prepare(FitContext())
        inputs = keras.Input((shape.num_features,))
        hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(8, activation="gelu")(inputs))
        return keras.Model(inputs, keras_loop.head(hidden, shape))

    return make


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((16, 3), dtype=np.float32)
    return x, x[:, :2], np.ones(16, dtype=np.float32)


def test_it_really_runs_on_tensorflow(build) -> None:
    import keras
    import tensorflow as tf

    assert keras.backend.backend() == "tensorflow"
    assert isinstance(build(), keras.Model)
    assert tf.config.get_visible_devices("GPU") == []


def test_quantiles_rise_whatever_the_weights(build) -> None:
    from raytrain.engines import keras_loop

    net = build()
    for variable in net.weights:
        variable.assign(np.random.default_rng(1).normal(0, 5, variable.shape))
    values = keras_loop.forward(net, SHAPE)(batch()[0])
    assert values.shape == (16, 2, 4)
    assert values.dtype == np.float32
    assert (np.diff(values, axis=-1) >= 0).all()


def test_probabilities_of_a_binary_target(build) -> None:
    from raytrain.engines import keras_loop

    shape = NetShape(num_features=3, num_outputs=2)
    values = keras_loop.forward(build(shape), shape)(batch()[0])
    assert values.shape == (16, 2, 1)
    assert ((values > 0) & (values < 1)).all()


@pytest.mark.parametrize("levels", [LEVELS, None])
def test_the_loss_of_a_step_is_the_weighted_mean_of_the_rows(build, levels) -> None:
    from raytrain.engines import keras_loop
    from raytrain.engines.epochs import row_loss

    shape = NetShape(num_features=3, num_outputs=2, levels=levels)
    learner = keras_loop.learner(build(shape), shape, NetParams(), FitContext())
    x, y, _ = batch()
    y = y if levels else (y > 0).astype(np.float32)
    # Dropout is off when every unit is dropped or none; here the loss is compared at weights that ignore the input.
    learner.restore([np.zeros_like(value) for value in learner.snapshot()])
    weight = np.linspace(0.2, 1.8, 16).astype(np.float32)
    context = FitContext(task="regression" if levels else "binary", quantiles=levels or (0.5,))
    expected = (row_loss(y, learner.predict(x).astype(np.float64), context) * weight).mean()
    assert float(learner.step(x, y, weight, 1e-3)) == pytest.approx(expected, rel=1e-5)


def test_steps_lower_the_loss_at_the_rate_given(build) -> None:
    from raytrain.engines import keras_loop

    learner = keras_loop.learner(build(), SHAPE, NetParams(), FitContext())
    x, y, weight = batch()
    start = learner.snapshot()
    learner.step(x, y, weight, 0.0)
    assert all(np.array_equal(a, b) for a, b in zip(start, learner.snapshot(), strict=True))
    losses = [float(learner.step(x, y, weight, 0.05)) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


def test_a_restored_net_is_the_one_of_the_snapshot(build) -> None:
    from raytrain.engines import keras_loop

    learner = keras_loop.learner(build(), SHAPE, NetParams(), FitContext())
    x, y, weight = batch()
    before, snapshot = learner.predict(x), learner.snapshot()
    learner.step(x, y, weight, 0.1)
    assert not np.array_equal(learner.predict(x), before)
    learner.restore(snapshot)
    assert np.array_equal(learner.predict(x), before)


def test_the_file_holds_the_net_and_no_optimiser(build, tmp_path: Path) -> None:
    from raytrain.engines import keras_loop

    net = build()
    x, y, weight = batch()
    keras_loop.learner(net, SHAPE, NetParams(), FitContext()).step(x, y, weight, 0.1)
    keras_loop.save(net, tmp_path)
    loaded = keras_loop.load(build, tmp_path)
    assert np.array_equal(keras_loop.forward(net, SHAPE)(x), keras_loop.forward(loaded, SHAPE)(x))
    with zipfile.ZipFile(tmp_path / "net.keras") as file:
        assert b"optimizer" not in file.read("model.weights.h5")


def test_code_in_a_file_is_refused(tmp_path: Path) -> None:
    import keras

    from raytrain.engines import keras_loop

    keras_loop.prepare(FitContext())
    inputs = keras.Input((3,))
    keras_loop.save(keras.Model(inputs, keras.layers.Lambda(lambda x: x * os.getpid())(inputs)), tmp_path)
    with pytest.raises(ValueError, match="safe_mode"):
        keras_loop.load(lambda: None, tmp_path)
