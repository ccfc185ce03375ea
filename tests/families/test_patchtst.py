import sys
from dataclasses import replace

import pytest

from raytrain import families
from raytrain.engines.base import Shape
from raytrain.engines.epochs import NetShape
from raytrain.engines.process import foreign_modules
from raytrain.errors import ConfigError
from raytrain.families.patchtst import PatchTST, PatchTSTParams

SHAPE = NetShape(num_features=150, num_outputs=1, steps=64, levels=(0.1, 0.5, 0.9))


def test_the_window_is_the_look_back() -> None:
    assert PatchTST.steps(PatchTSTParams(window=32)) == 32


@pytest.mark.parametrize(("size", "steps", "share"), [("2m", 300, 0.15), ("20m", 60, 0.05), ("200m", 8, 0.05)])
def test_the_larger_the_net_the_fewer_steps_unless_they_are_given(size: str, steps: int, share: float) -> None:
    assert (PatchTSTParams(size=size).max_steps, PatchTSTParams(size=size).valid_share) == (steps, share)
    assert PatchTSTParams(size=size, max_steps=5).max_steps == 5
    assert PatchTSTParams(size=size, max_steps=None).max_steps is None


def test_another_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="'2m', '20m' or '200m', got '50m'"):
        families.make_params("patchtst", {"size": "50m"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"patch_length": 64}, r"patch_length must be below window \(64\), got 64"),
        (
            {"window": 200, "patch_stride": 2},
            "2m allows 2,500,000 parameters, but 93 patches take .* raise patch_stride",
        ),
        ({"patch_stride": 17}, r"patch_stride must be at most patch_length \(16\).* got 17"),
    ],
)
def test_patches_that_do_not_cover_the_window_or_are_too_many_are_refused(given: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        families.make_params("patchtst", given)


@pytest.mark.parametrize("more", [{"size": "20m"}, {"num_channels": None}, {"batch_size": 128}, {"window": 128}])
def test_a_larger_net_more_channels_or_a_larger_batch_need_more(more: dict[str, object]) -> None:
    shape = Shape(rows=5_000, features=40, steps=64, quantiles=3)
    small, large = (PatchTST.needs(PatchTSTParams(**{"max_steps": 50} | given), shape) for given in ({}, more))
    assert large.work > small.work
    assert large.memory_bytes > small.memory_bytes


@pytest.mark.torch
@pytest.mark.parametrize(("size", "budget"), [("2m", 2e6), ("20m", 20e6), ("200m", 200e6)])
def test_it_has_the_parameters_of_its_size_and_all_of_them_learn(size: str, budget: float) -> None:
    import torch

    torch.manual_seed(0)
    net = PatchTST(PatchTSTParams(size=size, dropout=0.0)).build(SHAPE)
    assert 0.8 * budget < sum(weight.numel() for weight in net.parameters()) <= 1.25 * budget
    net(torch.randn(2, 64, 150)).square().sum().backward()
    untaught = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A key's bias adds the same to all scores of a query, which the softmax takes away again.
    assert [name for name in untaught if not name.endswith("k_proj.bias")] == []


@pytest.mark.torch
@pytest.mark.parametrize("num_features", [1, 150])
def test_as_many_patches_as_are_allowed_stay_in_the_budget(num_features: int) -> None:
    params = PatchTSTParams(window=152, patch_length=4, patch_stride=2, num_channels=None)
    net = PatchTST(params).build(replace(SHAPE, num_features=num_features, steps=152))
    assert sum(weight.numel() for weight in net.parameters()) <= 2.5e6


@pytest.mark.torch
def test_it_is_built_without_a_network_and_without_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a net is built from its configuration alone")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    PatchTST(PatchTSTParams()).build(SHAPE)
    assert foreign_modules("torch", sys.modules) == []


@pytest.mark.torch
def test_parameters_reach_the_net() -> None:
    params = PatchTSTParams(window=64, patch_length=8, patch_stride=4, num_channels=5, dropout=0.3)
    net = PatchTST(params).build(SHAPE)
    config = net.model.config
    assert (config.context_length, config.patch_length, config.patch_stride) == (64, 8, 4)
    assert net.model.patchifier.num_patches == params.num_patches == 15
    assert (net.num_channels, config.num_input_channels) == (5, 5)
    assert config.positional_dropout == config.path_dropout == config.ff_dropout == 0.3
