from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, Shape
from raytrain.engines.epochs import NetShape
from raytrain.families.lstm import LSTM, LSTMParams

SHAPE = NetShape(num_features=5, num_outputs=1, levels=(0.1, 0.9))


def test_the_window_is_the_look_back() -> None:
    assert LSTM.steps(LSTMParams(window=17)) == 17


def test_a_longer_window_or_a_wider_net_needs_more() -> None:
    shape = Shape(rows=5_000, features=40, steps=30, quantiles=3)
    small = LSTM.needs(LSTMParams(), shape)
    for more in ({"window": 90}, {"num_hidden": 128}, {"num_layers": 3}):
        needs = LSTM.needs(LSTMParams(**more), shape)
        assert needs.work > small.work
        assert needs.memory_bytes > small.memory_bytes


@pytest.mark.torch
def test_parameters_reach_the_net() -> None:
    import torch

    net = LSTM(LSTMParams(num_hidden=7, num_layers=2, dropout=0.3)).build(SHAPE)
    assert isinstance(net.layers, torch.nn.LSTM)
    assert (net.layers.input_size, net.layers.hidden_size, net.layers.num_layers) == (5, 7, 2)
    assert net.layers.dropout == net.dropout.p == 0.3


@pytest.mark.torch
def test_categories_are_embedded_before_the_window_is_read() -> None:
    codes, net = LSTM(LSTMParams()).build(replace(SHAPE, categories=((2, 6),)))
    assert codes.codes.vectors.num_embeddings == 6
    assert net.layers.input_size == codes.width == 4 + 4


@pytest.mark.torch
def test_it_uses_the_whole_window(make_data) -> None:
    data = make_data()
    windows = np.stack([data.x] * 4, axis=1)
    model = LSTM(LSTMParams(window=4, num_epochs=1, num_hidden=4)).fit(replace(data, x=windows), FitContext())
    changed = windows.copy()
    changed[:, 0] += 1
    assert not np.array_equal(model.predict(windows), model.predict(changed))
