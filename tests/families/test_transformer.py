import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.transformer import Transformer, TransformerParams


def test_the_window_is_the_look_back() -> None:
    assert Transformer.steps(TransformerParams(window=17)) == 17


@pytest.mark.parametrize("more", [{"window": 90}, {"num_heads": 4}, {"head_width": 32}, {"num_layers": 4}])
def test_a_longer_window_or_a_wider_net_needs_more(more: dict[str, object]) -> None:
    shape = Shape(rows=5_000, features=40, steps=30, quantiles=3)
    small, large = (Transformer.needs(TransformerParams(**given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
def test_parameters_reach_the_net() -> None:
    net = Transformer(TransformerParams(num_heads=3, head_width=4, num_layers=5, dropout=0.3)).build(
        NetShape(num_features=5, num_outputs=1, steps=17, levels=(0.1, 0.9))
    )
    assert (net.embed.in_features, net.embed.out_features) == (5, 12)
    assert net.positions_TH.shape == (17, 12)
    assert [layer.attention.num_heads for layer in net.encoder.layers] == [3] * 5
    assert {layer.dropout.p for layer in net.encoder.layers} == {0.3}
