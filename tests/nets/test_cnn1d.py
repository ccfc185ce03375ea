import pytest

pytestmark = pytest.mark.torch


def test_a_block_looks_twice_as_far_as_the_one_before() -> None:
    import torch

    from raytrain.nets.cnn1d import conv_blocks

    blocks = conv_blocks(2, (4, 4, 4), 3, 0.0)
    assert [block.conv.dilation[0] for block in blocks] == [1, 2, 4]
    for block in blocks:
        block.norm = torch.nn.Identity()  # it sees all steps
    x = torch.randn(1, 2, 41, requires_grad=True)
    blocks(x)[0, :, 20].sum().backward()
    seen = (x.grad[0].abs().sum(0) > 0).nonzero()[:, 0].tolist()
    assert seen == list(range(20 - 7, 20 + 8))


def test_blocks_keep_the_length_and_add_to_their_input() -> None:
    import torch

    from raytrain.nets.cnn1d import ConvBlock

    block = ConvBlock(4, 4, 5, 3, 0.0)
    torch.nn.init.zeros_(block.norm.weight)
    torch.nn.init.zeros_(block.norm.bias)
    x = torch.randn(2, 4, 9)
    assert torch.equal(block(x), x)
