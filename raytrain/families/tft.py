"""The temporal fusion transformer, over the past of a row and what is known of its future."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, cast

from pydantic import Field, model_validator

from raytrain.engines.base import FitContext, FitData, FloatArray, Needs, Range, Samples, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_steps
from raytrain.engines.files import read_params, write_params
from raytrain.engines.net_family import NetFamily
from raytrain.engines.platt import Platt
from raytrain.engines.tft_data import Layout, Sequences
from raytrain.engines.training import teaching_rows
from raytrain.features.history import History


class TFTParams(NetParams):
    """Parameters of the net and its training."""

    window: int = Field(60, ge=1, le=2048)
    """Rows the encoder reads, the forecast's own included."""
    num_ahead: int = Field(20, ge=1, le=512)
    """Steps of the decoder, at most: every row up to the longest horizon, or so many evenly spread ones."""
    num_hidden: int = Field(64, ge=4, le=1024)
    """Hidden units throughout."""
    num_heads: int = Field(4, ge=1, le=32)
    """Attention heads, at most as many as hidden units."""
    num_continuous: int = Field(8, ge=1, le=256)
    """Hidden units of each feature before the variables are selected."""
    num_epochs: int = Field(50, ge=1, le=10_000)
    """Passes over the training rows, at most."""
    max_steps: int | None = Field(1000, ge=1)
    """Gradient steps at most, whatever the epochs; none when null. 1,000 take about 10 minutes on one core."""
    batch_size: int = Field(64, ge=1, le=65_536)
    """Rows per gradient step."""
    learning_rate: float = Field(3e-4, gt=0, le=1)
    """AdamW's rate at the start; halved on a plateau."""
    plateau_patience: int = Field(3, ge=0)
    """Epochs without a lower loss on the rows kept aside before the learning rate is halved."""
    clip_norm: float = Field(0.5, gt=0)
    """Gradients are shortened to this joint Euclidean norm."""
    dropout: float = Field(0.15, ge=0, lt=1)
    """Share of hidden units left out of each step."""

    @model_validator(mode="after")
    def _heads_have_units(self) -> Self:
        if self.num_heads > self.num_hidden:
            raise ValueError(f"num_heads must be at most num_hidden ({self.num_hidden}), got {self.num_heads}")
        return self


class TFT(NetFamily[TFTParams]):
    """pytorch-forecasting's TFT (Lim et al. 2021), trained through Lightning: quantiles in order, or a probability.

    The encoder reads the features and how far the price has come over each horizon, the decoder the features known in
    advance; which series it is stands beside both. The forecast of a horizon is read at the decoder's step of that
    many rows ahead.
    """

    name = "tft"
    engine = "torch"
    lane = "slot"
    params_type = TFTParams
    inputs = "history"
    packages = ("torch", "lightning", "pytorch-forecasting")

    @classmethod
    def steps(cls, params: TFTParams) -> int:
        return params.window

    @classmethod
    def needs(cls, params: TFTParams, shape: Shape) -> Needs:
        # Measured with torch 2.13 at windows of 20 and 60, 20 to 150 features, 16 and 64 hidden units, batches of 16
        # and 64: nearly all of it is the variable selection of the encoder, which unfolds every feature of every step.
        values = params.window * (shape.features + shape.outputs + 1)
        per_value = 15.5 * params.num_hidden + 3.3 * params.num_continuous
        row_s = values * (0.05 + 0.035 * params.num_hidden + 0.03 * params.num_continuous) * 1e-6
        steps = expected_steps(params, shape.rows)
        aside = steps * params.batch_size * params.valid_share / (1 - params.valid_share)
        return Needs(
            # Of the first part, the larger half are the libraries that come on top of torch.
            memory_bytes=350 * 2**20 + 3 * shape.table_bytes + int(4 * params.batch_size * values * per_value),
            work=3.0 + steps * (0.5e-3 * shape.features + params.batch_size * row_s) + 0.25 * aside * row_s,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "num_hidden": [16, 32, 64, 128],
            "learning_rate": Range(1e-4, 1e-2, log=True),
            "dropout": Range(0.05, 0.4),
            "window": [30, 60, 90],
        }

    def fit(self, data: FitData, context: FitContext) -> Self:
        from raytrain.engines import lightning_loop, torch_loop

        rows = teaching_rows(data, context, self.tasks, self.params.valid_share)
        torch_loop.prepare(context)
        history = cast(History, data.x)
        self._layout = Layout.of(history, rows.head, context, self.params.window, self.params.num_ahead)
        seen = replace(data, x=Sequences(history, self._layout))
        codes = (*context.categorical, self._layout.series_column)
        self._shape = NetShape.of(seen, replace(context, categorical=codes), self.params.batch_size)
        self._net = self.build(self._shape)
        lightning_loop.train(
            self._net,
            self._shape,
            seen,
            rows,
            params=self.params,
            context=context,
            plateau_patience=self.params.plateau_patience,
        )
        self._forward = torch_loop.forward(self._net, self._shape)
        self._calibration = self._calibrate(seen, rows.tail) if context.task == "binary" else None
        return self

    def predict(self, x: Samples) -> FloatArray:
        return super().predict(Sequences(cast(History, x), self._layout))

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.tft import TFTNet

        layout = self._layout
        return TFTNet(
            layout.num_columns,
            num_past=layout.window,
            known=(*layout.known, layout.time_column),
            static=layout.series_column,
            categories=dict(shape.categories),
            outputs=layout.outputs,
            levels=shape.levels,
            num_hidden=self.params.num_hidden,
            num_heads=self.params.num_heads,
            num_continuous=self.params.num_continuous,
            dropout=self.params.dropout,
        )

    def save(self, folder: Path) -> None:
        from raytrain.engines import lightning_loop

        calibration = None if self._calibration is None else asdict(self._calibration)
        shape, layout = asdict(self._shape), asdict(self._layout)
        write_params(folder, self, {"shape": shape, "layout": layout, "calibration": calibration})
        lightning_loop.save(self._net, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        from raytrain.engines import lightning_loop, torch_loop

        model, state = read_params(folder, cls)
        model._shape = NetShape.from_json(state["shape"])
        model._layout = Layout.from_json(state["layout"])
        model._calibration = None if state["calibration"] is None else Platt.from_json(state["calibration"])
        model._net = model.build(model._shape)
        lightning_loop.load(model._net, folder)
        model._forward = torch_loop.forward(model._net, model._shape)
        return model
