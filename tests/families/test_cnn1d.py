import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.errors import ConfigError
from raytrain.families import make_params
from raytrain.families.cnn1d import CNN1D, CNN1DParams


@pytest.mark.parametrize("given", [{"kernel_size": 4}, {"channels": []}, {"channels": [8, 0]}])
def test_what_no_convolution_can_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        make_params("cnn1d", given)


@pytest.mark.parametrize("more", [{"window": 90}, {"channels": (64, 64, 64)}, {"kernel_size": 7}])
def test_a_longer_window_or_a_wider_net_needs_more(more: dict[str, object]) -> None:
    shape = Shape(rows=5_000, features=40, steps=30, quantiles=3)
    small, large = (CNN1D.needs(CNN1DParams(**given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
def test_parameters_reach_the_net() -> None:
    net = CNN1D(CNN1DParams(channels=(6, 4), kernel_size=5, dropout=0.3)).build(
        NetShape(num_features=5, num_outputs=1, levels=(0.1, 0.9))
    )
    assert [(block.conv.in_channels, block.conv.out_channels) for block in net.blocks] == [(5, 6), (6, 4)]
    assert {block.conv.kernel_size for block in net.blocks} == {(5,)}
    assert {block.dropout.p for block in net.blocks} == {0.3}
