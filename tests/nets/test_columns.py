import pytest

pytestmark = pytest.mark.torch

CATEGORIES = ((1, 3), (3, 5))


def table() -> object:
    """Two rows of four columns; the second and the fourth hold codes."""
    import torch

    return torch.tensor([[0.5, 1, -2.0, 4], [1.5, 2, 3.0, 1]])


def test_equal_codes_of_two_columns_are_different_vectors() -> None:
    import torch

    from raytrain.nets.columns import CodeVectors

    torch.manual_seed(0)
    codes = CodeVectors(CATEGORIES, 6)
    vectors = codes(torch.tensor([[0.0, 1, 0, 1]]))
    assert vectors.shape == (1, 2, 6)
    assert not torch.equal(vectors[0, 0], vectors[0, 1])
    assert len(codes.vectors.weight) == 8


def test_what_training_has_not_seen_is_nothing_until_it_is_learned() -> None:
    import torch

    from raytrain.nets.columns import CodeVectors

    codes = CodeVectors(CATEGORIES, 6)
    unseen, beyond = codes(torch.tensor([[0.0, 0, 0, 0]])), codes(torch.tensor([[0.0, 3, 0, 99]]))
    assert torch.equal(unseen, torch.zeros(1, 2, 6))
    assert torch.equal(beyond, unseen)
    unseen.sum().backward()
    assert codes.vectors.weight.grad[[0, 3]].abs().sum() > 0


def test_numbers_stand_beside_the_vectors_of_the_codes_in_every_step() -> None:
    import torch

    from raytrain.nets.columns import Flattened

    flattened = Flattened(4, CATEGORIES)
    x = torch.stack([table()] * 3, dim=1)
    assert flattened(x).shape == (2, 3, flattened.width)
    assert flattened.width == 2 + 2 * 4
    assert torch.equal(flattened(x)[..., :2], x[..., [0, 2]])


def test_a_token_is_the_number_along_a_direction_or_the_vector_of_the_code() -> None:
    import torch

    from raytrain.nets.columns import ColumnTokens

    tokens = ColumnTokens(4, CATEGORIES, 6)
    found = tokens(table())
    assert found.shape == (2, 4, 6)
    torch.testing.assert_close(found[1, 1], 3.0 * tokens.direction_ND[1] + tokens.offset_ND[1])
    torch.testing.assert_close(found[:, 2:], tokens.codes(table()))


def test_without_categories_all_columns_are_numbers() -> None:
    import torch

    from raytrain.nets.columns import ColumnTokens, behind_codes

    assert ColumnTokens(4, (), 6)(table()).shape == (2, 4, 6)
    net = behind_codes(4, (), lambda width: torch.nn.Linear(width, 2))
    assert isinstance(net, torch.nn.Linear)
    assert net.in_features == 4


def test_a_table_of_codes_alone_is_served() -> None:
    import torch

    from raytrain.nets.columns import ColumnTokens, behind_codes

    x, categories = torch.tensor([[1.0, 2.0]]), ((0, 2), (1, 3))
    assert ColumnTokens(2, categories, 6)(x).shape == (1, 2, 6)
    assert behind_codes(2, categories, lambda width: torch.nn.Linear(width, 5))(x).shape == (1, 5)
