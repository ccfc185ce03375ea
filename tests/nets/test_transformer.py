import numpy as np
import pytest

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("width", [1, 6, 7])
def test_positions_are_those_of_the_paper(width: int) -> None:
    from raytrain.nets.transformer import positions

    found = positions(5, width).numpy()
    for step in range(5):
        for i in range(width):
            angle = step / 10_000 ** ((i - i % 2) / width)
            assert found[step, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-5)


def test_a_step_that_asks_gets_what_all_steps_asking_would_give_it() -> None:
    import torch

    from raytrain.nets.transformer import EncoderLayer

    torch.manual_seed(0)
    layer, x = EncoderLayer(8, 2, 0.0).eval(), torch.randn(3, 5, 8)
    torch.testing.assert_close(layer(x, slice(-1, None)), layer(x)[:, -1:])


def test_a_layer_is_the_pre_norm_layer_of_torch() -> None:
    import torch

    from raytrain.nets.transformer import EncoderLayer

    torch.manual_seed(0)
    ours = EncoderLayer(8, 2, 0.0).eval()
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 16, 0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    theirs.self_attn.load_state_dict(ours.attention.state_dict())
    for name, part in {
        "norm1": ours.norm,
        "norm2": ours.dense[0],
        "linear1": ours.dense[1],
        "linear2": ours.dense[4],
    }.items():
        getattr(theirs, name).load_state_dict(part.state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x), theirs(x))
