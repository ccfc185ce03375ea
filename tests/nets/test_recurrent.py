import pytest

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_every_layer_is_of_the_cell_and_dropout_is_between_them(cell: str, num_layers: int) -> None:
    import torch

    from raytrain.nets.recurrent import RecurrentNet

    net = RecurrentNet(3, 2, None, cell=cell, num_hidden=8, num_layers=num_layers, dropout=0.2)
    assert isinstance(net.layers, {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell])
    assert net.layers.num_layers == num_layers
    assert net.layers.dropout == (0.2 if num_layers > 1 else 0.0)
    assert net.dropout.p == 0.2


def test_the_head_sees_the_last_step() -> None:
    import torch

    from raytrain.nets.recurrent import RecurrentNet

    torch.manual_seed(0)
    net = RecurrentNet(3, 1, None, cell="gru", num_hidden=8, num_layers=1, dropout=0.2).eval()
    x = torch.randn(4, 10, 3)
    hidden, _ = net.layers(x)
    torch.testing.assert_close(net(x), net.head(hidden[:, -1]))
