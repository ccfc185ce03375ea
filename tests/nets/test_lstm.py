import pytest

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("num_layers", [1, 2])
def test_it_reads_the_whole_window_and_predicts_each_output(num_layers: int) -> None:
    import torch

    from raytrain.nets.lstm import LSTMNet

    torch.manual_seed(0)
    net = LSTMNet(3, 2, (0.1, 0.5, 0.9), num_hidden=8, num_layers=num_layers, dropout=0.2).eval()
    x = torch.randn(4, 10, 3, requires_grad=True)
    predicted = net(x)
    assert predicted.shape == (4, 2, 3)
    predicted.sum().backward()
    assert (x.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    import torch

    from raytrain.nets.lstm import LSTMNet

    torch.manual_seed(0)
    net = LSTMNet(3, 1, None, num_hidden=8, num_layers=1, dropout=0.2).eval()
    x = torch.randn(4, 10, 3)
    changed = x.clone()
    changed[1:] += 1
    torch.testing.assert_close(net(x)[0], net(changed)[0])
