"""PatchTST (Nie et al. 2023, https://arxiv.org/abs/2211.14730) in transformers' implementation, under our heads.

Shapes: B batch, T steps, F features, C channels, P patches, D model width, S summary values of a channel.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from raytrain.nets.heads import head

_SUMMARY = 16
"""Values that stand for what the Transformer saw in a channel, in place of the paper's forecast of the channel."""


class PatchTSTNet(nn.Module):
    """Channels cut into patches, a Transformer that reads each channel by itself, and one head over all of them.

    Each channel is standardised within its window; where the paper adds the window's mean and deviation back to a
    forecast of the channel itself, here they go into the head beside what the Transformer saw.

    Args:
        levels: quantile levels; None gives one logit per output.
        num_channels: more features than this are mixed into so many learned channels; None keeps every feature.
        width: of the model; a multiple of `num_heads`.
        dropout: on the patches, within each layer and before the head.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        levels: Sequence[float] | None,
        *,
        steps: int,
        patch_length: int,
        patch_stride: int,
        num_channels: int | None,
        width: int,
        num_layers: int,
        num_heads: int,
        num_hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_channels = min(num_features, num_channels or num_features)
        mixed = self.num_channels < num_features
        self.mix = nn.Linear(num_features, self.num_channels, bias=False) if mixed else nn.Identity()
        self.model = _model(
            num_input_channels=self.num_channels,
            context_length=steps,
            patch_length=patch_length,
            patch_stride=patch_stride,
            d_model=width,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            ffn_dim=num_hidden,
            positional_dropout=dropout,
            path_dropout=dropout,
            ff_dropout=dropout,
        )
        num_patches = self.model.patchifier.num_patches
        self.summary = nn.Sequential(
            nn.Flatten(start_dim=-2), nn.Dropout(dropout), nn.Linear(num_patches * width, _SUMMARY)
        )
        self.head = head(self.num_channels * (_SUMMARY + 2), num_outputs, levels)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, outputs, levels), or (B, outputs, 1) logits."""
        seen = self.model(self.mix(x_BTF))
        summary_BCS = self.summary(seen.last_hidden_state)
        mean_BC1, deviation_BC1 = seen.loc.transpose(1, 2), seen.scale.transpose(1, 2)
        hidden_BH = torch.cat([summary_BCS, mean_BC1, deviation_BC1], dim=-1).flatten(start_dim=1)
        predicted: Tensor = self.head(hidden_BH)
        return predicted


def _model(**size: Any) -> Any:
    """An untrained PatchTST with the options of the paper, where transformers' defaults differ."""
    from transformers import PatchTSTConfig, PatchTSTModel

    config = PatchTSTConfig(
        **size,
        norm_type="batchnorm",
        pre_norm=False,
        scaling="std",
        pooling_type=None,  # mean pooling over patches ruins it: the order of the patches is what it has learned
        positional_encoding_type="random",
    )
    model = PatchTSTModel(config)
    # Learned positions that start small; transformers starts them as large as the patches themselves.
    nn.init.uniform_(model.encoder.positional_encoder.position_enc, -0.02, 0.02)
    return model
