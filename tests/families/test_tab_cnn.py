import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.tab_cnn import TabCNN, TabCNNParams


@pytest.mark.parametrize("more", [{"token_width": 64}, {"channels": (64, 64)}, {"kernel_size": 7}])
def test_a_wider_net_needs_more_time_and_not_less_memory(more: dict[str, object]) -> None:
    shape = Shape(rows=5_000, features=40, quantiles=3)
    small, large = (TabCNN.needs(TabCNNParams(**given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
def test_parameters_and_categories_reach_the_net() -> None:
    net = TabCNN(TabCNNParams(token_width=5, channels=(6, 4), kernel_size=5, dropout=0.3)).build(
        NetShape(num_features=9, num_outputs=1, levels=(0.1, 0.9), categories=((2, 6),))
    )
    assert net.tokens.direction_ND.shape == (8, 5)
    assert net.tokens.codes.vectors.weight.shape == (6, 5)
    assert [(block.conv.in_channels, block.conv.out_channels) for block in net.blocks] == [(5, 6), (6, 4)]
    assert {(block.conv.kernel_size, block.dropout.p) for block in net.blocks} == {((5,), 0.3)}
