import pytest

pytestmark = pytest.mark.torch

SIZES = {"kernel_size": 3, "pool": 2, "dropout": 0.2, "layer_norm": True}


def make(**sizes: object) -> object:
    from raytrain.nets.cnn_gru import CNNGRUNet

    given = SIZES | {"channels": (6, 8), "cell": "gru", "recurrent": (10, 4), "bidirectional": False, "dense": (5,)}
    return CNNGRUNet(3, 1, (0.1, 0.5, 0.9), **given | sizes)


@pytest.mark.parametrize(("steps", "left"), [(20, 5), (21, 6), (5, 2), (1, 1)])
def test_each_pool_halves_the_window_rounded_up(steps: int, left: int) -> None:
    import torch

    net = make()
    assert net.convolutions(torch.randn(2, 3, steps)).shape == (2, 8, left)
    assert net(torch.randn(2, steps, 3)).shape == (2, 1, 3)


def test_widths_follow_each_other() -> None:
    net = make(bidirectional=True, recurrent=(10, 4, 3), dense=(5, 7))
    assert (net.first.input_size, net.first.hidden_size, net.first.bidirectional) == (8, 10, True)
    assert [(layer.input_size, layer.hidden_size) for layer in net.others] == [(20, 4), (4, 3)]
    assert [(block[0].in_features, block[0].out_features) for block in net.dense] == [(3, 5), (5, 7)]
    assert net.norm.normalized_shape == (20,)


def test_layers_can_be_left_out() -> None:
    import torch

    net = make(recurrent=(10,), dense=(), layer_norm=False, cell="lstm")
    assert isinstance(net.first, torch.nn.LSTM)
    assert isinstance(net.norm, torch.nn.Identity)
    assert net(torch.randn(2, 20, 3)).shape == (2, 1, 3)


def test_batch_norm_uses_what_it_learned_when_it_predicts() -> None:
    import torch

    torch.manual_seed(0)
    net, x = make(), 5 + torch.randn(64, 20, 3)
    untrained = net.eval()(x[:2])
    net.train()
    for _ in range(30):
        net(x)
    trained = net.eval()(x[:2])
    assert not torch.equal(trained, untrained)
    torch.testing.assert_close(net(x)[:2], trained)
