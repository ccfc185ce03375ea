"""PatchTST at 2, 20 or 200 million parameters, over a look-back window."""

from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from raytrain.engines.base import Needs, Range, Shape, Space
from raytrain.engines.epochs import NetParams, NetShape, expected_steps
from raytrain.engines.net_family import NetFamily

Size = Literal["2m", "20m", "200m"]


class _Size(NamedTuple):
    """What a parameter budget buys."""

    most: int
    """Parameters of the net, its head included."""
    width: int
    num_layers: int
    num_heads: int
    num_hidden: int
    max_steps: int
    """Gradient steps of 32 rows that one core takes in a few minutes."""
    valid_share: float
    """Little where the steps end before a second look at the rows kept aside."""

    @property
    def num_weights(self) -> int:
        """Weights of the layers, which are nearly all there are."""
        return self.num_layers * self.width * (4 * self.width + 2 * self.num_hidden)


_SIZES: dict[str, _Size] = {
    "2m": _Size(2_500_000, 192, 5, 12, 768, max_steps=300, valid_share=0.15),
    "20m": _Size(25_000_000, 512, 6, 16, 2048, max_steps=60, valid_share=0.05),
    "200m": _Size(250_000_000, 1024, 16, 16, 4096, max_steps=8, valid_share=0.05),
}


# A position is learned for each patch, and 16 values of a channel's summary read it; the rest leaves room for the head.
_WEIGHTS_OF_A_PATCH = 20


class PatchTSTParams(NetParams):
    """Parameters of the net and its training.

    Unless given, `max_steps` is 300 at 2m, 60 at 20m and 8 at 200m, and `valid_share` 0.15, 0.05 and 0.05.
    """

    size: Size = "2m"
    """Parameters of the net: at most 2.5, 25 or 250 million."""
    window: int = Field(64, ge=2, le=2048)
    """Rows the net looks back on, the forecast's own included."""
    patch_length: int = Field(16, ge=1, le=2047)
    """Rows in a patch; fewer than `window`."""
    patch_stride: int = Field(8, ge=1, le=2047)
    """Rows from one patch to the next; at most `patch_length`. The oldest rows that fill no patch are left out."""
    num_channels: int | None = Field(8, ge=1, le=1024)
    """Series that are cut into patches: the features, or so many learned mixtures when there are more features. Null
    for every feature, which costs in proportion."""
    batch_size: int = Field(32, ge=1, le=65_536)
    """Rows per gradient step."""
    learning_rate: float = Field(3e-4, gt=0, le=1)
    """AdamW's rate at the start; falls to a hundredth along a cosine."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of hidden units left out of each step."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_size_allows(cls, given: dict[str, Any]) -> dict[str, Any]:
        size = _SIZES.get(given.get("size", "2m"))
        return given if size is None else {"max_steps": size.max_steps, "valid_share": size.valid_share, **given}

    @model_validator(mode="after")
    def _patches_cover_the_window(self) -> Self:
        if self.patch_length >= self.window:
            raise ValueError(f"patch_length must be below window ({self.window}), got {self.patch_length}")
        if self.patch_stride > self.patch_length:
            raise ValueError(
                f"patch_stride must be at most patch_length ({self.patch_length}), or rows between patches are lost, "
                f"got {self.patch_stride}"
            )
        size = _SIZES[self.size]
        weights = size.num_weights + _WEIGHTS_OF_A_PATCH * self.num_patches * size.width
        if weights > size.most:
            raise ValueError(
                f"size {self.size} allows {size.most:,} parameters, but {self.num_patches} patches take {weights:,}; "
                "raise patch_stride or lower window"
            )
        return self

    @property
    def num_patches(self) -> int:
        """Patches in a window."""
        return (self.window - self.patch_length) // self.patch_stride + 1


class PatchTST(NetFamily[PatchTSTParams]):
    """A Transformer over patches of each channel (Nie et al. 2023), non-crossing quantiles or a probability."""

    name = "patchtst"
    engine = "torch"
    lane = "slot"
    params_type = PatchTSTParams
    inputs = "windows"
    packages = ("torch", "transformers")

    @classmethod
    def steps(cls, params: PatchTSTParams) -> int:
        return params.window

    @classmethod
    def needs(cls, params: PatchTSTParams, shape: Shape) -> Needs:
        # Measured with torch 2.13 at all three sizes, batches of 8 to 128, 8 and 60 channels.
        size = _SIZES[params.size]
        tokens = params.num_patches * min(shape.features, params.num_channels or shape.features)
        units = tokens * size.num_layers * size.width
        row_s = 6e-11 * tokens * size.num_weights + 1.3e-7 * units
        steps = expected_steps(params, shape.rows)
        looks = max(1.0, steps * params.batch_size / shape.rows)
        return Needs(
            # Of the first part, the larger half is the library that comes on top of torch.
            memory_bytes=250 * 2**20 + 3 * shape.table_bytes + 20 * size.num_weights + 132 * params.batch_size * units,
            work=3.0
            + 2e-8 * size.num_weights
            + steps * (params.batch_size * row_s + 3e-9 * size.num_weights)
            + looks * params.valid_share * shape.rows * row_s / 3,
        )

    @classmethod
    def space(cls) -> Space:
        return {
            "window": [32, 64, 128],
            "num_channels": [4, 8, 16],
            "learning_rate": Range(1e-5, 1e-3, log=True),
            "dropout": Range(0.0, 0.5),
        }

    def build(self, shape: NetShape) -> Any:
        from raytrain.nets.patchtst import PatchTSTNet

        size = _SIZES[self.params.size]
        return PatchTSTNet(
            shape.num_features,
            shape.num_outputs,
            shape.levels,
            steps=shape.steps,
            patch_length=self.params.patch_length,
            patch_stride=self.params.patch_stride,
            num_channels=self.params.num_channels,
            width=size.width,
            num_layers=size.num_layers,
            num_heads=size.num_heads,
            num_hidden=size.num_hidden,
            dropout=self.params.dropout,
        )
