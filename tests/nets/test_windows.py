"""What every net over a window does."""

import pytest

pytestmark = pytest.mark.torch

LEVELS = (0.1, 0.5, 0.9)
STEPS = 24


def nets() -> dict[str, object]:
    """A function for each net: (outputs, levels) -> the net, for windows of 24 steps of 3 features."""
    from raytrain.nets.cnn1d import CNN1DNet
    from raytrain.nets.cnn_gru import CNNGRUNet
    from raytrain.nets.recurrent import RecurrentNet
    from raytrain.nets.transformer import TransformerNet

    conv = {"kernel_size": 3, "dropout": 0.2}
    mixed = conv | {"channels": (6, 8), "pool": 2, "recurrent": (8, 6), "dense": (5,)}
    return {
        "lstm": lambda *ends: RecurrentNet(3, *ends, cell="lstm", num_hidden=8, num_layers=2, dropout=0.2),
        "gru": lambda *ends: RecurrentNet(3, *ends, cell="gru", num_hidden=8, num_layers=1, dropout=0.2),
        "cnn1d": lambda *ends: CNN1DNet(3, *ends, channels=(6, 8), **conv),
        "transformer": lambda *ends: TransformerNet(3, STEPS, *ends, width=8, num_heads=2, num_layers=2, dropout=0.2),
        "cnn_gru": lambda *ends: CNNGRUNet(3, *ends, cell="gru", bidirectional=False, layer_norm=True, **mixed),
        "cnn_lstm": lambda *ends: CNNGRUNet(3, *ends, cell="lstm", bidirectional=True, layer_norm=False, **mixed),
    }


NAMES = ["lstm", "gru", "cnn1d", "transformer", "cnn_gru", "cnn_lstm"]


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_the_whole_window_and_predicts_each_output(name: str) -> None:
    import torch

    torch.manual_seed(0)
    net = nets()[name](2, LEVELS).eval()
    x = torch.randn(4, STEPS, 3, requires_grad=True)
    predicted = net(x)
    assert predicted.shape == (4, 2, 3)
    assert (predicted.diff(dim=-1) >= 0).all()
    predicted.sum().backward()
    assert (x.grad.abs().sum(dim=(0, 2)) > 0).all()
    assert nets()[name](2, None)(x).shape == (4, 2, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_steps_matters(name: str) -> None:
    import torch

    torch.manual_seed(0)
    net = nets()[name](1, LEVELS).eval()
    x = torch.randn(4, STEPS, 3)
    swapped = x.clone()
    swapped[:, [7, 16]] = x[:, [16, 7]]
    assert (net(x) - net(swapped)).abs().max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_do_not_see_each_other_once_trained(name: str) -> None:
    import torch

    torch.manual_seed(0)
    net = nets()[name](1, None)
    x = torch.randn(4, STEPS, 3)
    net(x)  # batch norm takes note of it
    changed = x.clone()
    changed[1:] += 1
    net.eval()
    torch.testing.assert_close(net(x)[0], net(changed)[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns(name: str) -> None:
    import torch

    torch.manual_seed(0)
    net = nets()[name](2, LEVELS)
    net(torch.randn(8, STEPS, 3)).square().sum().backward()
    assert [which for which, weight in net.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_on_in_training_only(name: str) -> None:
    import torch

    torch.manual_seed(0)
    net, x = nets()[name](1, LEVELS), torch.randn(4, STEPS, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
