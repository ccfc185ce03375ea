from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.tab_transformer import TabTransformer, TabTransformerParams


@pytest.mark.parametrize("more", [{"num_heads": 4}, {"head_width": 32}, {"num_layers": 4}])
def test_a_wider_net_needs_more(more: dict[str, object]) -> None:
    shape = Shape(rows=5_000, features=40, quantiles=3)
    small, large = (TabTransformer.needs(TabTransformerParams(**given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
def test_parameters_and_categories_reach_the_net() -> None:
    net = TabTransformer(TabTransformerParams(num_heads=3, head_width=4, num_layers=5, dropout=0.3)).build(
        NetShape(num_features=9, num_outputs=1, levels=(0.1, 0.9), categories=((2, 6),))
    )
    assert net.tokens.direction_ND.shape == (8, 12)
    assert net.tokens.codes.vectors.weight.shape == (6, 12)
    assert [layer.attention.num_heads for layer in net.encoder.layers] == [3] * 5
    assert {layer.dropout.p for layer in net.encoder.layers} == {0.3}


@pytest.mark.torch
def test_it_learns_what_each_category_means_and_nothing_of_an_unseen_one(make_data) -> None:
    data = make_data(400)
    code = np.random.default_rng(0).integers(1, 4, len(data.y))
    # The middle category is the lowest: no line through the codes can tell.
    meaning = np.array([0.0, 2.0, -2.0, 2.0])
    x = data.x.copy()
    x[:, 1] = code
    noise = 0.1 * np.random.default_rng(1).standard_normal(len(code))
    y = (meaning[code] + noise).astype(np.float32)[:, None]
    params = TabTransformerParams(num_epochs=15, batch_size=64, learning_rate=0.01, head_width=4)
    model = TabTransformer(params).fit(replace(data, x=x, y=y), FitContext(categorical=(1,)))

    def forecast(code: int) -> np.ndarray:
        row = x.copy()
        row[:, 1] = code
        return model.predict(row)[:, 0, 0]

    for known in (1, 2, 3):
        assert abs(forecast(known).mean() - meaning[known]) < 0.5
    assert np.array_equal(forecast(4), forecast(0))
    assert np.array_equal(forecast(99), forecast(0))
