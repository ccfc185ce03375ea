from pathlib import Path

import pytest

from raytrain.config import read_yaml
from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.errors import ConfigError
from raytrain.families import make_params
from raytrain.families.cnn_gru import CNNGRU, CNNGRUParams

PRESETS = Path(__file__).parents[2] / "configs" / "presets"


def preset(name: str) -> CNNGRUParams:
    return CNNGRUParams(**read_yaml(PRESETS / f"{name}.yaml").get("params", {}).get("cnn_gru", {}))


def test_presets_cost_what_their_names_say() -> None:
    shape = Shape(rows=5_000, features=60, quantiles=3)
    work = {name: CNNGRU.needs(preset(name), shape).work for name in ("fast", "balanced", "quality", "legacy")}
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
@pytest.mark.parametrize("name", ["fast", "balanced", "quality", "legacy"])
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
