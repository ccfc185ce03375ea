from typing import Any

import pytest

from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.errors import ConfigError
from raytrain.families import make_params
from raytrain.families.cnn_gru import CNNGRU, PRESETS, CNNGRUParams

# Numbers of the net and its training that users of these presets know.
KNOWN: dict[str, dict[str, Any]] = {
    "fast": {"channels": (32,), "cell": "gru", "recurrent": (64, 32), "dense": (32,), "bidirectional": False},
    "balanced": {"channels": (48, 96), "cell": "gru", "recurrent": (80, 40), "dense": (40,), "bidirectional": False},
    "quality": {
        "channels": (64, 128, 256),
        "cell": "lstm",
        "recurrent": (120, 60),
        "dense": (80, 40),
        "bidirectional": True,
    },
    "legacy": {"channels": (64,), "cell": "lstm", "recurrent": (100, 50), "dense": (), "bidirectional": False},
}
TRAINING = {
    "fast": (2e-3, 100, 64, 60, 10),
    "balanced": (1e-3, 200, 48, 90, 15),
    "quality": (5e-4, 300, 32, 120, 20),
    "legacy": (1e-3, 300, 32, 120, 20),
}


def preset(name: str) -> CNNGRUParams:
    return CNNGRUParams(**PRESETS[name])


@pytest.mark.parametrize("name", list(KNOWN))
def test_presets_are_the_known_ones(name: str) -> None:
    params = preset(name)
    assert params.model_dump(include=set(KNOWN[name])) == KNOWN[name]
    trained = (params.learning_rate, params.num_epochs, params.batch_size, params.window, params.patience)
    assert trained == TRAINING[name]


def test_every_preset_says_the_same_things() -> None:
    assert list(PRESETS) == list(KNOWN)
    assert len({frozenset(values) for values in PRESETS.values()}) == 1


def test_the_defaults_are_balanced() -> None:
    assert preset("balanced") == CNNGRUParams()


def test_presets_cost_what_their_names_say() -> None:
    shape = Shape(rows=5_000, features=60, quantiles=3)
    work = {name: CNNGRU.needs(preset(name), shape).work for name in PRESETS}
    assert work["fast"] < work["balanced"] < work["legacy"] < work["quality"]


@pytest.mark.parametrize("given", [{"channels": []}, {"recurrent": []}, {"batch_size": 1}, {"cell": "rnn"}])
def test_what_the_net_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        make_params("cnn_gru", given)


@pytest.mark.parametrize(
    "more", [{"window": 180}, {"channels": (96, 192)}, {"recurrent": (160, 80)}, {"cell": "lstm"}, {"pool": 1}]
)
def test_a_longer_window_or_a_wider_net_needs_more(more: dict[str, object]) -> None:
    shape = Shape(rows=5_000, features=40, quantiles=3)
    small, large = (CNNGRU.needs(CNNGRUParams(**given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
@pytest.mark.parametrize("name", list(KNOWN))
def test_presets_build_the_net_they_describe(name: str) -> None:
    import torch

    params = preset(name)
    net = CNNGRU(params).build(NetShape(num_features=5, num_outputs=1, levels=(0.1, 0.9)))
    kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[params.cell]
    assert [block[0].out_channels for block in net.convolutions] == list(params.channels)
    assert all(isinstance(block[1], torch.nn.BatchNorm1d) for block in net.convolutions)
    assert all(isinstance(layer, kind) for layer in (net.first, *net.others))
    assert [layer.hidden_size for layer in (net.first, *net.others)] == list(params.recurrent)
    assert net.first.bidirectional == params.bidirectional
    assert isinstance(net.norm, torch.nn.LayerNorm) == params.layer_norm == (name == "balanced")
    assert [block[0].out_features for block in net.dense] == list(params.dense)
    assert net.dropout.p == params.dropout
