from typing import Any

import pytest

pytestmark = pytest.mark.torch

PAST, FUTURE = 4, 3
KNOWN, TIME, STATIC, CATEGORY = 1, 3, 4, 2


def make(**given: Any) -> Any:
    """Columns: a number, a known number, a code, the time (known), and which series it is."""
    import torch

    from raytrain.nets.tft import TFTNet

    torch.manual_seed(0)
    size: dict[str, Any] = {
        "num_past": PAST,
        "known": (KNOWN, TIME),
        "static": STATIC,
        "categories": {CATEGORY: 3, STATIC: 3},
        "outputs": (0, 2),
        "levels": (0.1, 0.5, 0.9),
        "num_hidden": 8,
        "num_heads": 2,
        "num_continuous": 4,
        "dropout": 0.1,
    }
    return TFTNet(5, **size | given).eval()


def sequences(rows: int = 6) -> Any:
    import torch

    torch.manual_seed(1)
    x = torch.randn(rows, PAST + FUTURE, 5)
    x[..., CATEGORY] = torch.randint(0, 3, (rows, PAST + FUTURE))
    x[..., STATIC] = torch.arange(rows)[:, None] % 2 + 1
    return x


def moved(place: Any, by: float = 1.0) -> Any:
    """Whether each output of the second row changes when the input there does."""
    net, x = make(), sequences()
    changed = x.clone()
    changed[(1, *place)] += by
    different = (net(x) != net(changed)).any(dim=-1)
    assert not different[[0, 2, 3, 4, 5]].any(), "rows of a batch must not see each other"
    return different[1].tolist()


@pytest.mark.parametrize(("levels", "last"), [((0.1, 0.5, 0.9), 3), (None, 1)])
def test_each_output_is_predicted(levels: Any, last: int) -> None:
    assert make(levels=levels)(sequences()).shape == (6, 2, last)


@pytest.mark.parametrize("step", range(PAST))
@pytest.mark.parametrize("column", [0, KNOWN, TIME])
def test_the_whole_past_is_read(step: int, column: int) -> None:
    assert moved((step, column)) == [True, True]


def test_codes_of_the_past_are_read() -> None:
    import torch

    net, x = make(), sequences()
    changed = x.clone()
    changed[:, :PAST, CATEGORY] = (x[:, :PAST, CATEGORY] + 1) % 3
    assert not torch.equal(net(x), net(changed))


@pytest.mark.parametrize("column", [0, CATEGORY])
def test_what_is_not_known_in_advance_is_not_read_in_the_future(column: int) -> None:
    assert moved((slice(PAST, None), column)) == [False, False]


def test_what_is_known_is_read_up_to_the_step_of_the_output() -> None:
    assert moved((PAST, KNOWN)) == [True, True]
    assert moved((PAST + 1, KNOWN)) == [False, True]
    assert moved((PAST + 2, KNOWN)) == [False, True]


def test_which_series_it_is_matters() -> None:
    assert moved((slice(None), STATIC), 1.0 if sequences()[1, 0, STATIC] == 1 else -1.0) == [True, True]


@pytest.mark.parametrize("column", [STATIC, CATEGORY])
def test_codes_without_a_meaning_are_all_alike_and_embedded_as_zero(column: int) -> None:
    import torch

    net, x = make(), sequences()
    unseen, out_of_range = x.clone(), x.clone()
    unseen[..., column], out_of_range[..., column] = 0, 9
    assert torch.equal(net(unseen), net(out_of_range))
    assert not net.tft.input_embeddings[f"column_{column}"].weight[0].any()


def test_quantiles_are_put_in_order_when_predicting() -> None:
    import torch

    net, x = make(), sequences()
    with torch.no_grad():
        net.tft.output_layer.bias[:] = torch.tensor([5.0, 0.0, -5.0])
    assert (net(x).diff(dim=-1) >= 0).all()
    assert (net.train()(x).diff(dim=-1) < 0).all()
