"""Attention over a look-back window."""

from typing import Any

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetShape
from raytrain.engines.torch_family import TRAINING_SPACE, EncoderParams, WindowFamily, WindowParams, encoder_needs


class TransformerParams(WindowParams, EncoderParams):
    """Parameters of the net and its training."""


class Transformer(WindowFamily[TransformerParams]):
    """An encoder with positions (Vaswani et al. 2017), and non-crossing quantiles or a probability."""

    name = "transformer"
    params_type = TransformerParams

    @classmethod
    def needs(cls, params: TransformerParams, shape: Shape) -> Needs:
        return encoder_needs(params, shape, params.window, shape.features)

    @classmethod
    def space(cls) -> Space:
        return {
            **TRAINING_SPACE,
            "num_heads": [2, 4],
            "head_width": [8, 16, 32],
            "num_layers": Range(1, 4, integer=True),
            "window": [10, 30, 60],
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.columns import behind_codes
        from raytrain.nets.transformer import TransformerNet

        sizes = {"width": self.params.width} | self.params.model_dump(include={"num_heads", "num_layers", "dropout"})
        return behind_codes(
            shape.num_features,
            shape.categories,
            lambda width: TransformerNet(width, shape.steps, shape.num_outputs, shape.levels, **sizes),
        )
