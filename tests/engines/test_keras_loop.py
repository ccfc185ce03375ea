import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.engines.epochs import NetParams, NetShape, row_loss
from raytrain.engines.process import engine_env
from raytrain.errors import WrongEngine

pytestmark = pytest.mark.keras

LEVELS = (0.05, 0.4, 0.7, 0.9)
SHAPE = NetShape(num_features=3, num_outputs=2, levels=LEVELS)


@pytest.fixture
def build() -> Callable[..., object]:
    """Makes a small net with dropout."""

    def make(shape: NetShape = SHAPE, dropout: float = 0.5) -> object:
        import keras

        from raytrain.engines import keras_layers, keras_loop

        keras_loop.prepare(FitContext())
        inputs = keras.Input((shape.num_features,))
        hidden = keras_layers.dense_stack(inputs, [8], dropout)
        return keras_loop.plain(keras.Model(inputs, keras_layers.head(hidden, shape)), shape)

    return make


def learner_of(net: object, **params: float) -> object:
    from raytrain.engines import keras_loop

    return keras_loop.learner(net, SHAPE, NetParams(**params), FitContext())


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((16, 3), dtype=np.float32)
    return x, x[:, :2], np.ones(16, dtype=np.float32)


def test_it_really_runs_on_tensorflow(build) -> None:
    import keras
    import tensorflow as tf

    assert keras.backend.backend() == "tensorflow"
    assert isinstance(build().model, keras.Model)
    assert tf.config.get_visible_devices("GPU") == []


def test_a_backend_that_nobody_has_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from raytrain.engines import keras_loop

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(WrongEngine, match="must be tensorflow or torch, got jax"):
        keras_loop.prepare(FitContext())


@pytest.mark.parametrize("levels", [LEVELS, None])
def test_the_loss_of_every_step_is_the_weighted_mean_of_its_rows(build, levels) -> None:
    shape = NetShape(num_features=3, num_outputs=2, levels=levels)
    learner = learner_of(build(shape, dropout=0.0))
    x, y, _ = batch()
    y = y if levels else (y > 0).astype(np.float32)
    weight = np.linspace(0.2, 1.8, 16).astype(np.float32)
    context = FitContext(task="regression" if levels else "binary", quantiles=levels or (0.5,))
    for _ in range(3):
        expected = (row_loss(y, learner.predict(x).astype(np.float64), context) * weight).mean()
        assert float(learner.step(x, y, weight, 1e-2)) == pytest.approx(expected, rel=1e-4)


def test_steps_lower_the_loss_at_the_rate_given(build) -> None:
    learner = learner_of(build())
    x, y, weight = batch()
    start = learner.snapshot()
    learner.step(x, y, weight, 0.0)
    assert all(np.array_equal(a, b) for a, b in zip(start, learner.snapshot(), strict=True))
    losses = [float(learner.step(x, y, weight, 0.05)) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


def test_gradients_are_clipped(build) -> None:
    """Adam forgets the length of all gradients alike, but not that one of them was much longer."""
    moved = []
    for clip_norm in (1e-3, 1e9):
        learner = learner_of(build(dropout=0.0), clip_norm=clip_norm, weight_decay=0)
        x, y, weight = batch()
        learner.step(x, y, weight, 1e-3)
        learner.step(x, 1e6 * y, 1e6 * weight, 1e-3)
        before = learner.snapshot()
        learner.step(x, -y, weight, 1e-3)
        moved.append(sum(np.abs(a - b).sum() for a, b in zip(before, learner.snapshot(), strict=True)))
    assert not np.isclose(*moved, rtol=0.05)


def test_parts_learn_in_turn_each_at_its_pace(build) -> None:
    import keras
    from keras import ops

    from raytrain.engines import keras_loop

    net = build()
    slow, fast, fixed = (keras.Variable([0.0], trainable=trainable) for trainable in (True, True, False))
    parts = [
        keras_loop.Part(lambda x, y, step: (slow - 1) ** 2 * ops.ones_like(x[:, 0]), [slow, fixed]),
        keras_loop.Part(lambda x, y, step: (fast - slow - 9) ** 2 * ops.ones_like(x[:, 0]), [fast], pace=3.0),
    ]
    learner = learner_of(keras_loop.Net(net.model, parts), weight_decay=0)
    # The second part sees what the first one has just learned; Adam's first step is as long as its rate.
    assert float(learner.step(*batch(), 0.1)) == pytest.approx(1 + (-9.1) ** 2, rel=1e-4)
    values = [float(variable.value.numpy()[0]) for variable in (slow, fast, fixed)]
    np.testing.assert_allclose(values, [0.1, 0.3, 0.0], rtol=1e-4)


def test_a_loss_knows_how_many_steps_were_taken(build) -> None:
    import keras
    from keras import ops

    from raytrain.engines import keras_loop

    weight = keras.Variable([1.0])
    part = keras_loop.Part(lambda x, y, step: step + 0 * weight * ops.ones_like(x[:, 0]), [weight])
    learner = learner_of(keras_loop.Net(build().model, [part]))
    assert [float(learner.step(*batch(), 0.1)) for _ in range(3)] == [0, 1, 2]


def test_a_restored_net_is_the_one_of_the_snapshot(build) -> None:
    learner = learner_of(build())
    x, y, weight = batch()
    before, snapshot = learner.predict(x), learner.snapshot()
    learner.step(x, y, weight, 0.1)
    assert not np.array_equal(learner.predict(x), before)
    learner.restore(snapshot)
    assert np.array_equal(learner.predict(x), before)


def test_a_learner_goes_on_from_its_state_to_the_bit(build, tmp_path: Path) -> None:
    x, y, weight = batch()
    learner = learner_of(build())
    for _ in range(3):
        learner.step(x, y, weight, 0.02)
    learner.save_state(tmp_path)
    losses = [float(learner.step(x, y, weight, 0.01)) for _ in range(3)]
    other = learner_of(build())
    other.load_state(tmp_path)
    assert [float(other.step(x, y, weight, 0.01)) for _ in range(3)] == losses
    assert np.array_equal(other.predict(x), learner.predict(x))
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


def test_the_file_holds_what_predicts_and_nothing_else(build, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from raytrain.engines import keras_loop

    net = build()
    x, y, weight = batch()
    learner_of(net).step(x, y, weight, 0.1)
    keras_loop.save(net, tmp_path)
    predicted = keras_loop.forward(net, SHAPE)(x)
    loaded = keras_loop.load(build, tmp_path)
    assert np.array_equal(keras_loop.forward(loaded, SHAPE)(x), predicted)
    assert predicted.dtype == np.float32
    [path] = tmp_path.iterdir()
    assert [value.shape for value in load_file(path).values()] == [(3, 8), (8,), (8, 8), (8,)]


ON_TORCH = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from raytrain import families
from raytrain.engines.base import FitContext, FitData
from raytrain.engines.process import claim

rng = np.random.default_rng(0)
x = rng.standard_normal((400, 3), dtype=np.float32)
y = x[:, :1] + 0.3 * rng.standard_normal((400, 1), dtype=np.float32)
day = np.arange(400) * 86_400 * 10**9
ones = np.ones(400, dtype=np.float32)
data = FitData(x=x, y=y, weight=ones, date=day, label_date=day, series=np.zeros(400, dtype=np.int32))
context = FitContext(quantiles=(0.1, 0.5, 0.9))


def go_through(name, folder):
    family = families.get(name)
    params = families.make_params(name, {"num_epochs": 6, "batch_size": 64, "learning_rate": 0.01})
    model = family(params).fit(data, context)
    (folder / "model").mkdir(parents=True)
    model.save(folder / "model")
    predicted = model.predict(x)
    np.save(folder / "predicted.npy", predicted)
    assert np.array_equal(family.load(folder / "model").predict(x), predicted), "a loaded model differs"
    asked = iter(range(100))
    stopped = family(params).fit(data, replace(context, checkpoint=folder, should_stop=lambda: next(asked) == 13))
    assert not np.array_equal(stopped.predict(x), predicted), "the stop was not heard"
    resumed = family(params).fit(data, replace(context, checkpoint=folder))
    assert np.array_equal(resumed.predict(x), predicted), "a resumed fit differs"


claim("keras")
np.save(Path(sys.argv[1]) / "x.npy", x)
for name in sys.argv[2:]:
    go_through(name, Path(sys.argv[1]) / name)
assert "torch" in sys.modules
claim("keras")
"""
FAMILIES = ("gan", "mlp", "multi_task", "vae")


@pytest.fixture(scope="module")
def on_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the families have left behind in a process with the other backend, in which nothing went wrong."""
    folder = tmp_path_factory.mktemp("on_torch")
    env = os.environ | engine_env("keras", 1, "cpu", keras_backend="torch")
    command = [sys.executable, "-W", "error", "-c", ON_TORCH, str(folder), *FAMILIES]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_that_torch_has_trained_predicts_on_tensorflow_too(name: str, on_torch: Path) -> None:
    from raytrain import families

    x, predicted = np.load(on_torch / "x.npy"), np.load(on_torch / name / "predicted.npy")
    assert np.corrcoef(predicted[:, 0, 1], x[:, 0])[0, 1] > 0.5
    loaded = families.get(name).load(on_torch / name / "model")
    np.testing.assert_allclose(loaded.predict(x), predicted, atol=1e-4)
