"""The temporal fusion transformer (Lim et al. 2021, https://arxiv.org/abs/1912.09363) of pytorch-forecasting.

Shapes: B batch, T steps of the past and then of the future, C columns, O outputs, Q levels.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class TFTNet(nn.Module):
    """Reads one array of past and future, and answers at chosen steps of the future.

    Args:
        num_columns: of the input; those not named below are numbers that only the past knows.
        num_past: steps of the past.
        known: columns that are read in the future too.
        static: the column that says which series it is; also counted in `categories`.
        categories: columns that hold codes, and how many codes each has. 0, and codes out of range, have no meaning:
            their embedding is zero.
        outputs: the steps of the future, from 0, at which each output is read.
        levels: quantile levels; None gives one logit per output.
    """

    def __init__(
        self,
        num_columns: int,
        *,
        num_past: int,
        known: Sequence[int],
        static: int,
        categories: Mapping[int, int],
        outputs: Sequence[int],
        levels: Sequence[float] | None,
        num_hidden: int,
        num_heads: int,
        num_continuous: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_past = num_past
        self.outputs = list(outputs)
        self.numbers = [column for column in range(num_columns) if column not in categories]
        self.codes = list(categories)
        self.register_buffer("num_codes", torch.tensor(list(categories.values())), persistent=False)
        self.sorts = levels is not None
        self.tft = _tft(
            hidden_size=num_hidden,
            attention_head_size=num_heads,
            hidden_continuous_size=num_continuous,
            dropout=dropout,
            output_size=1 if levels is None else len(levels),
            max_encoder_length=num_past,
            static_categoricals=[_name(static)],
            x_reals=_names(self.numbers),
            x_categoricals=_names(self.codes),
            time_varying_reals_encoder=_names(self.numbers),
            time_varying_reals_decoder=_names(column for column in self.numbers if column in known),
            time_varying_categoricals_encoder=_names(column for column in self.codes if column != static),
            time_varying_categoricals_decoder=_names(column for column in self.codes if column in known),
            embedding_sizes={_name(column): _embedding(count) for column, count in categories.items()},
            embedding_paddings=_names(self.codes),
        )

    def forward(self, x_BTC: Tensor) -> Tensor:
        """(B, O, Q), rising along the last axis unless in training, or (B, O, 1) logits."""
        codes = x_BTC[..., self.codes].long()
        codes = torch.where(codes < self.num_codes, codes, 0)
        numbers = x_BTC[..., self.numbers]
        num_rows, num_future = x_BTC.shape[0], x_BTC.shape[1] - self.num_past
        answer = self.tft(
            {
                "encoder_cat": codes[:, : self.num_past],
                "decoder_cat": codes[:, self.num_past :],
                "encoder_cont": numbers[:, : self.num_past],
                "decoder_cont": numbers[:, self.num_past :],
                "encoder_lengths": torch.full((num_rows,), self.num_past, device=x_BTC.device),
                "decoder_lengths": torch.full((num_rows,), num_future, device=x_BTC.device),
                "target_scale": None,
            }
        )
        predicted_BOQ: Tensor = answer["prediction"][:, self.outputs]
        # Crossed quantiles are put in order (Chernozhukov et al. 2010), which never raises their loss.
        return predicted_BOQ.sort(dim=-1).values if self.sorts and not self.training else predicted_BOQ


def _tft(**given: Any) -> nn.Module:
    from pytorch_forecasting.metrics import QuantileLoss
    from pytorch_forecasting.models.temporal_fusion_transformer import TemporalFusionTransformer

    with warnings.catch_warnings():
        # It keeps its arguments, modules included, for checkpoints of a kind that is not used here.
        warnings.filterwarnings("ignore", "Attribute '.*' is an instance of `nn.Module`", UserWarning)
        net: nn.Module = TemporalFusionTransformer(
            **given, loss=QuantileLoss(), logging_metrics=nn.ModuleList(), output_transformer=_as_it_is
        )
    return net


def _as_it_is(answer: Mapping[str, Tensor]) -> Tensor:
    """Predictions stay in the unit that they were trained in."""
    return answer["prediction"]


def _embedding(num_codes: int) -> tuple[int, int]:
    from pytorch_forecasting.utils import get_embedding_size

    return num_codes, get_embedding_size(num_codes)


def _name(column: int) -> str:
    return f"column_{column}"


def _names(columns: Any) -> list[str]:
    return [_name(column) for column in columns]
