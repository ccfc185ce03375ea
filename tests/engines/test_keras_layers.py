import numpy as np
import pytest
from scipy import stats

from raytrain.engines.base import FitContext
from raytrain.engines.epochs import NetShape, row_loss

pytestmark = pytest.mark.keras

LEVELS = (0.05, 0.4, 0.7, 0.9)
SHAPE = NetShape(num_features=3, num_outputs=2, levels=LEVELS)
BINARY = NetShape(num_features=3, num_outputs=2)


def model(shape: NetShape) -> object:
    import keras

    from raytrain.engines import keras_layers

    inputs = keras.Input((shape.num_features,))
    return keras.Model(inputs, keras_layers.head(inputs, shape))


def rows(num: int = 16) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((num, 3), dtype=np.float32)


def test_quantiles_rise_whatever_the_weights() -> None:
    net = model(SHAPE)
    for variable in net.weights:
        variable.assign(np.random.default_rng(1).normal(0, 5, variable.shape))
    values = np.asarray(net(rows()).numpy())
    assert values.shape == (16, 2, 4)
    assert (np.diff(values, axis=-1) >= 0).all()
    assert len(np.unique(values[:, 0, 0])) == 16


def test_an_untrained_head_is_normal_whatever_the_input() -> None:
    np.testing.assert_allclose(
        model(SHAPE)(rows()).numpy(), np.broadcast_to(stats.norm.ppf(LEVELS), (16, 2, 4)), atol=1e-5
    )
    np.testing.assert_array_equal(model(BINARY)(rows()).numpy(), np.full((16, 2, 1), 0.5))


def test_one_level_is_enough() -> None:
    net = model(NetShape(num_features=3, num_outputs=1, levels=(0.5,)))
    np.testing.assert_allclose(net(rows()).numpy(), np.zeros((16, 1, 1)), atol=1e-7)


@pytest.mark.parametrize("shape", [SHAPE, BINARY])
def test_the_loss_of_each_output_is_that_of_the_training_loop(shape: NetShape) -> None:
    from keras import ops

    from raytrain.engines import keras_layers

    rng = np.random.default_rng(2)
    y = rng.standard_normal((16, 2)).astype(np.float32)
    predicted = np.sort(rng.standard_normal((16, 2, 4)), axis=-1).astype(np.float32)
    if shape is BINARY:
        y, predicted = (y > 0).astype(np.float32), rng.uniform(0.01, 0.99, (16, 2, 1)).astype(np.float32)
    context = FitContext(task="binary" if shape is BINARY else "regression", quantiles=LEVELS)
    loss = keras_layers.output_loss(shape, ops.convert_to_tensor(y), ops.convert_to_tensor(predicted)).numpy()
    expected = [row_loss(y[:, [i]], predicted[:, [i]].astype(np.float64), context) for i in range(2)]
    np.testing.assert_allclose(loss, np.transpose(expected), rtol=1e-4)


def test_codes_become_columns_of_zeros_and_ones() -> None:
    from keras import ops

    from raytrain.engines import keras_layers

    shape = NetShape(num_features=3, num_outputs=1, categories=((1, 3), (2, 2)))
    # Code 0 is the unseen one; 7 is a code that training had no row of.
    x = ops.convert_to_tensor(np.array([[0.5, 1, 1], [1.5, 2, 0], [2.5, 0, 7]], dtype=np.float32))
    expected = [[0.5, 1, 0, 1], [1.5, 0, 1, 0], [2.5, 0, 0, 0]]
    np.testing.assert_array_equal(keras_layers.one_hot_codes(x, shape).numpy(), np.array(expected, dtype=np.float32))


def test_a_table_of_codes_alone_has_no_numbers() -> None:
    from keras import ops

    from raytrain.engines import keras_layers

    shape = NetShape(num_features=1, num_outputs=1, categories=((0, 3),))
    x = ops.convert_to_tensor(np.array([[2.0], [1.0]], dtype=np.float32))
    np.testing.assert_array_equal(keras_layers.one_hot_codes(x, shape).numpy(), [[0, 1], [1, 0]])


def test_dense_layers_have_these_widths_and_dropout() -> None:
    import keras

    from raytrain.engines import keras_layers

    inputs = keras.Input((3,))
    net = keras.Model(inputs, keras_layers.dense_stack(inputs, (6, 4), 0.25))
    assert [layer.units for layer in net.layers if isinstance(layer, keras.layers.Dense)] == [6, 4]
    assert [layer.rate for layer in net.layers if isinstance(layer, keras.layers.Dropout)] == [0.25] * 2
