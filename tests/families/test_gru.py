import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.gru import GRU, GRUParams
from raytrain.families.lstm import LSTM, LSTMParams


def test_fewer_gates_need_less_than_an_lstm() -> None:
    shape = Shape(rows=5_000, features=40, steps=30, quantiles=3)
    assert GRU.needs(GRUParams(), shape).work < LSTM.needs(LSTMParams(), shape).work


@pytest.mark.torch
def test_the_net_is_a_gru_of_these_sizes() -> None:
    import torch

    net = GRU(GRUParams(num_hidden=7, num_layers=2, dropout=0.3)).build(
        NetShape(num_features=5, num_outputs=1, levels=(0.1, 0.9))
    )
    assert isinstance(net.layers, torch.nn.GRU)
    assert (net.layers.input_size, net.layers.hidden_size, net.layers.num_layers) == (5, 7, 2)
