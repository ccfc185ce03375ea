from typing import Any

import pytest

pytestmark = pytest.mark.torch


def make(**given: Any) -> Any:
    import torch

    from raytrain.nets.patchtst import PatchTSTNet

    torch.manual_seed(0)
    size: dict[str, Any] = {
        "num_features": 3,
        "num_outputs": 2,
        "levels": (0.1, 0.5, 0.9),
        "steps": 12,
        "patch_length": 4,
        "patch_stride": 2,
        "num_channels": None,
        "width": 8,
        "num_layers": 2,
        "num_heads": 2,
        "num_hidden": 16,
        "dropout": 0.2,
    }
    return PatchTSTNet(**size | given).eval()


@pytest.mark.parametrize(("levels", "last"), [((0.1, 0.5, 0.9), 3), (None, 1)])
@pytest.mark.parametrize("num_channels", [None, 2])
def test_it_reads_the_whole_window_and_predicts_each_output(levels: Any, last: int, num_channels: int | None) -> None:
    import torch

    x = torch.randn(4, 12, 3, requires_grad=True)
    predicted = make(levels=levels, num_channels=num_channels)(x)
    assert predicted.shape == (4, 2, last)
    predicted.sum().backward()
    assert (x.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_the_options_are_those_of_the_paper() -> None:
    config = make().model.config
    assert config.pooling_type is None
    assert (config.norm_type, config.scaling, config.pre_norm) == ("batchnorm", "std", False)
    assert (config.share_embedding, config.channel_attention, config.use_cls_token) == (True, False, False)
    position = make().model.encoder.positional_encoder.position_enc
    assert position.requires_grad
    assert 0 < position.abs().max() <= 0.02


def test_each_channel_is_read_by_itself() -> None:
    import torch

    net, x = make(), torch.randn(4, 12, 3)
    other = x.clone()
    other[..., 1] = torch.randn(4, 12)
    one, two = (net.model(values).last_hidden_state for values in (x, other))
    assert torch.equal(one[:, [0, 2]], two[:, [0, 2]])
    assert not torch.equal(one[:, 1], two[:, 1])


def test_features_are_mixed_only_when_there_are_more_than_channels() -> None:
    import torch

    assert make(num_channels=2).model.config.num_input_channels == 2
    assert isinstance(make(num_channels=3).mix, torch.nn.Identity)
    assert isinstance(make(num_channels=8).mix, torch.nn.Identity)


@pytest.mark.parametrize("change", [lambda x: x + 1, lambda x: x * 2])
def test_the_level_and_the_spread_of_a_window_reach_the_head(change: Any) -> None:
    """The Transformer cannot see them: it reads standardised windows."""
    import torch

    net, x = make(), torch.randn(4, 12, 3)
    seen = [net.model(values).last_hidden_state for values in (x, change(x))]
    torch.testing.assert_close(*seen, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(net(x), net(change(x)), atol=1e-3)


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    import torch

    net, x = make(), torch.randn(4, 12, 3)
    changed = x.clone()
    changed[1:] += 1
    torch.testing.assert_close(net(x)[0], net(changed)[0])
