import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.errors import ConfigError
from raytrain.families import make_params
from raytrain.families.mlp import MLP, MLPParams


def test_units_must_be_positive_and_there() -> None:
    for hidden in ([], [0], [8, -1]):
        with pytest.raises(ConfigError, match="hidden"):
            make_params("mlp", {"hidden": hidden})


def test_a_wider_net_needs_more() -> None:
    shape = Shape(rows=5_000, features=40, quantiles=3)
    small, large = (MLP.needs(MLPParams(hidden=hidden), shape) for hidden in ((32,), (2048, 2048)))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.keras
def test_the_net_is_a_keras_model_of_these_widths() -> None:
    import keras

    shape = NetShape(num_features=5, num_outputs=1, levels=(0.1, 0.5, 0.9), categories=((0, 4),))
    net = MLP(MLPParams(hidden=(6, 4, 2), dropout=0.25)).build(shape).model
    assert isinstance(net, keras.Model)
    dense = [layer for layer in net.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [6, 4, 2, 3]
    assert dense[0].kernel.shape == (4 + 3, 6)
    assert [layer.rate for layer in net.layers if isinstance(layer, keras.layers.Dropout)] == [0.25] * 3
    assert net.output_shape == (None, 1, 3)
