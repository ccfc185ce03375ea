"""Attention over the columns of one row."""

from typing import Any

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetShape
from raytrain.engines.torch_family import TRAINING_SPACE, EncoderParams, TorchFamily, encoder_needs


class TabTransformerParams(EncoderParams):
    """Parameters of the net and its training."""


class TabTransformer(TorchFamily[TabTransformerParams]):
    """A vector per column, the categorical ones embedded, and attention over them (after Huang et al. 2020).

    Numbers are vectors too, as in the FT-Transformer (Gorishniy et al. 2021), so that they attend as well. Quantiles do
    not cross; a binary target gets a probability.
    """

    name = "tab_transformer"
    params_type = TabTransformerParams

    @classmethod
    def needs(cls, params: TabTransformerParams, shape: Shape) -> Needs:
        return encoder_needs(params, shape, shape.features + 1, 1)

    @classmethod
    def space(cls) -> Space:
        return {
            **TRAINING_SPACE,
            "num_heads": [2, 4],
            "head_width": [8, 16],
            "num_layers": Range(1, 4, integer=True),
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.tab_transformer import TabTransformerNet

        return TabTransformerNet(
            shape.num_features,
            shape.categories,
            shape.num_outputs,
            shape.levels,
            width=self.params.width,
            **self.params.model_dump(include={"num_heads", "num_layers", "dropout"}),
        )
