import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.errors import ConfigError
from raytrain.families import make_params
from raytrain.families.multilayer_lstm import MultilayerLSTM, MultilayerLSTMParams


def test_one_layer_is_not_several() -> None:
    with pytest.raises(ConfigError, match="num_layers"):
        make_params("multilayer_lstm", {"num_layers": 1})


def test_more_layers_need_more() -> None:
    shape = Shape(rows=5_000, features=40, steps=30, quantiles=3)
    two, five = (MultilayerLSTM.needs(MultilayerLSTMParams(num_layers=layers), shape) for layers in (2, 5))
    assert five.work > two.work
    assert five.memory_bytes > two.memory_bytes


@pytest.mark.torch
def test_it_stacks_three_layers_with_dropout_between_them() -> None:
    import torch

    net = MultilayerLSTM(MultilayerLSTMParams(dropout=0.3)).build(
        NetShape(num_features=5, num_outputs=1, levels=(0.1, 0.9))
    )
    assert isinstance(net.layers, torch.nn.LSTM)
    assert (net.layers.num_layers, net.layers.dropout) == (3, 0.3)
