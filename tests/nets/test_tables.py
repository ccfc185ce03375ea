"""What every net over the columns of one row does."""

import pytest

pytestmark = pytest.mark.torch

LEVELS = (0.1, 0.5, 0.9)
CATEGORIES = ((2, 4),)
NAMES = ["tab_cnn", "tab_lstm", "tab_transformer"]


def nets() -> dict[str, object]:
    """A function for each net: (outputs, levels) -> the net, for seven columns, of which the third holds codes."""
    from raytrain.nets.tab_cnn import TabCNNNet
    from raytrain.nets.tab_lstm import TabLSTMNet
    from raytrain.nets.tab_transformer import TabTransformerNet

    columns = (7, CATEGORIES)
    conv = {"channels": (6, 8), "kernel_size": 3, "dropout": 0.2}
    return {
        "tab_cnn": lambda *ends: TabCNNNet(*columns, *ends, token_width=4, **conv),
        "tab_lstm": lambda *ends: TabLSTMNet(*columns, *ends, token_width=4, num_hidden=8, num_layers=2, dropout=0.2),
        "tab_transformer": lambda *ends: TabTransformerNet(
            *columns, *ends, width=8, num_heads=2, num_layers=2, dropout=0.2
        ),
    }


def rows(seed: int = 0) -> object:
    """(5, 7) with codes 0 to 3 in the third column."""
    import torch

    torch.manual_seed(seed)
    x = torch.randn(5, 7)
    x[:, 2] = torch.tensor([0.0, 1, 2, 3, 1])
    return x


@pytest.mark.parametrize("name", NAMES)
def test_it_sees_every_column_and_predicts_each_output(name: str) -> None:
    import torch

    x = rows()
    net = nets()[name](2, LEVELS).eval()
    predicted = net(x)
    assert predicted.shape == (5, 2, 3)
    assert (predicted.diff(dim=-1) >= 0).all()
    for column in range(7):
        changed = x.clone()
        changed[:, column] = (x[:, column] + 1) % 4
        assert not torch.equal(net(changed), predicted), column
    assert nets()[name](2, None)(x).shape == (5, 2, 1)


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_told_apart(name: str) -> None:

    x = rows()
    net = nets()[name](1, LEVELS).eval()
    swapped = x.clone()
    swapped[:, [0, 5]] = x[:, [5, 0]]
    assert (net(x) - net(swapped)).abs().max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_categories_and_not_numbers(name: str) -> None:
    """Rows that differ in their code alone, and whose codes were given the same vector, are equal."""
    import torch

    net = nets()[name](1, LEVELS).eval()
    x = rows()[:1].repeat(3, 1)
    x[:, 2] = torch.tensor([1.0, 2.0, 3.0])
    with torch.no_grad():
        net.tokens.codes.vectors.weight[3] = net.tokens.codes.vectors.weight[1]
    one, two, three = net(x)
    torch.testing.assert_close(one, three)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns(name: str) -> None:
    net = nets()[name](2, LEVELS)
    net(rows()).square().sum().backward()
    assert [which for which, weight in net.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_on_in_training_only(name: str) -> None:
    import torch

    x = rows()
    net = nets()[name](1, LEVELS)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
