import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.tab_lstm import TabLSTM, TabLSTMParams


@pytest.mark.parametrize("more", [{"token_width": 64}, {"num_hidden": 64}, {"num_layers": 3}])
def test_a_wider_net_needs_more(more: dict[str, object]) -> None:
    shape = Shape(rows=5_000, features=40, quantiles=3)
    small, large = (TabLSTM.needs(TabLSTMParams(**given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
def test_parameters_and_categories_reach_the_net() -> None:
    net = TabLSTM(TabLSTMParams(token_width=5, num_hidden=7, num_layers=2, dropout=0.3)).build(
        NetShape(num_features=9, num_outputs=1, levels=(0.1, 0.9), categories=((2, 6),))
    )
    assert net.tokens.direction_ND.shape == (8, 5)
    assert net.tokens.codes.vectors.weight.shape == (6, 5)
    assert (net.layers.input_size, net.layers.hidden_size, net.layers.num_layers) == (5, 7, 2)
    assert net.layers.dropout == net.dropout.p == 0.3
