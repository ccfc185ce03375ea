import pytest

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.5, 0.9), (0.05, 0.2, 0.4), (0.6, 0.9), (0.1, 0.2, 0.45, 0.8)])
def test_quantiles_rise_whatever_the_weights(levels: tuple[float, ...]) -> None:
    import torch

    from raytrain.nets.heads import head

    torch.manual_seed(0)
    layer = head(6, 2, levels)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=5)
    values = layer(torch.randn(32, 6))
    assert values.shape == (32, 2, len(levels))
    assert (values.diff(dim=-1) >= 0).all()


def test_the_level_nearest_the_median_is_free() -> None:
    import torch

    from raytrain.nets.heads import RisingQuantiles

    layer = RisingQuantiles(1, 1, (0.1, 0.4, 0.9))
    torch.nn.init.zeros_(layer.linear.weight)
    with torch.no_grad():
        layer.linear.bias[:] = torch.tensor([0.0, -3.0, 0.0])
    step = torch.log(torch.tensor(2.0))  # softplus(0)
    torch.testing.assert_close(layer(torch.zeros(1, 1))[0, 0], torch.stack([-3 - step, torch.tensor(-3.0), -3 + step]))


def test_without_levels_there_is_one_logit_per_output() -> None:
    import torch

    from raytrain.nets.heads import head

    assert head(6, 2, None)(torch.randn(3, 6)).shape == (3, 2, 1)


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.5, 0.9), (0.05, 0.2, 0.4), (0.6, 0.9), (0.1, 0.2, 0.45, 0.8)])
def test_quantiles_start_as_those_of_a_normal_distribution(levels: tuple[float, ...]) -> None:
    import torch
    from scipy.stats import norm

    from raytrain.nets.heads import head

    torch.manual_seed(0)
    values = head(32, 2, levels)(torch.randn(64, 32))
    torch.testing.assert_close(values.mean(0), torch.tensor(norm.ppf([levels] * 2)).float(), atol=0.05, rtol=0)
    assert 0 < values.std(0).max() < 0.2


def test_probabilities_start_at_one_half() -> None:
    import torch

    from raytrain.nets.heads import head

    torch.manual_seed(0)
    assert 0 < head(32, 2, None)(torch.randn(64, 32)).abs().max() < 0.5
