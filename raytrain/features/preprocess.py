"""Impute, clip and scale: fitted on a fold's training rows, frozen, applied in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.config import Section
from raytrain.features.categories import UNSEEN

FloatArray = NDArray[np.float32]
Statistics = NDArray[np.float64]

_BLOCK_VALUES = 2**22
"""Fitting copies this many values at a time, or two columns if they are longer."""


class PreprocessConfig(Section):
    """How inputs are prepared for the families that want them scaled."""

    impute: Literal["median", "zero"] = "median"
    """What stands in for an unknown value: the median of the training rows, or 0 in the column's own unit."""
    clip_share: float = Field(0.0, ge=0, lt=0.5)
    """Values beyond this quantile of the training rows, at either end, are moved to it before scaling; 0 for none."""
    scale: Literal["standard", "minmax", "robust", "none"] = "standard"
    """To mean 0 and deviation 1, to 0..1, to median 0 and interquartile range 1, or not at all."""
    clip: float | None = Field(10.0, gt=0)
    """Largest absolute scaled value, in deviations for `standard`; none when null, nor when `scale` is `none`."""


_DEFAULT = PreprocessConfig()


@dataclass(frozen=True)
class Preprocess:
    """(x, or `fill` where unknown) kept between `low` and `high`, minus `center`, times `scale`, clipped.

    A column without a known training value, or constant in training, becomes 0 unless `scale` is `none`. Categorical
    columns keep their codes; a code that no training row had becomes `UNSEEN`.
    """

    fill: FloatArray
    """(features,) what stands in for an unknown value; NaN leaves it unknown."""
    center: FloatArray
    """(features,) in the column's own unit."""
    scale: FloatArray
    """(features,) 1 / spread of the training rows; 0 for a column that says nothing."""
    low: FloatArray | None = None
    high: FloatArray | None = None
    """(features,) bounds before scaling; None for none."""
    clip: float | None = 10.0
    seen: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Categorical column -> the codes of the training rows, rising."""

    @classmethod
    def fit(
        cls,
        x: FloatArray,
        rows: NDArray[np.intp] | None = None,
        config: PreprocessConfig = _DEFAULT,
        categorical: Sequence[int] = (),
    ) -> Self:
        """Learn from training rows, a few columns at a time: what is copied does not grow with their number.

        Args:
            x: (n, features), in memory or mapped.
            rows: indices of the training rows; all when not given.
            config: what is done.
            categorical: indices of the columns that hold codes.
        """
        num_rows, num_columns = len(x) if rows is None else len(rows), x.shape[1]
        # Never one column alone, unless there is no other: numpy would sum it in another order.
        num_blocks = max(1, min(num_columns // 2, num_rows * num_columns // _BLOCK_VALUES))
        blocks = np.array_split(np.arange(num_columns), num_blocks)
        fits = [_fit_block(_part(x, rows, slice(block[0], block[-1] + 1)), config) for block in blocks]
        fill, center, scale, low, high = (np.concatenate(parts).astype(np.float32) for parts in zip(*fits, strict=True))
        return cls(
            fill=fill,
            center=center,
            scale=scale,
            low=low if config.clip_share else None,
            high=high if config.clip_share else None,
            clip=None if config.scale == "none" else config.clip,
            seen=_seen(x, rows, categorical),
        )

    @classmethod
    def fit_codes(cls, x: FloatArray, rows: NDArray[np.intp] | None, categorical: Sequence[int]) -> Self:
        """Learn the codes of the training rows and leave all other columns as they are, unknown values included."""
        ones = np.ones(x.shape[1], dtype=np.float32)
        return cls(ones * np.float32("nan"), 0 * ones, ones, clip=None, seen=_seen(x, rows, categorical))

    def apply(self, x: FloatArray) -> FloatArray:
        """Transform (..., features); the result is a new contiguous float32 array."""
        return self.apply_in_place(np.array(x, dtype=np.float32, order="C"))

    def apply_in_place(self, x: FloatArray) -> FloatArray:
        """Transform (..., features) where it lies, and return it."""
        codes = [(column, _only(x[..., column], known)) for column, known in self.seen]
        np.copyto(x, self.fill, where=np.isnan(x))
        if self.low is not None:
            np.clip(x, self.low, self.high, out=x)
        x -= self.center
        x *= self.scale
        if self.clip is not None:
            np.clip(x, -self.clip, self.clip, out=x)
        for column, values in codes:
            x[..., column] = values
        return x

    def only(self, columns: Sequence[int]) -> Self:
        """The same for a table of some of the columns, in this order."""
        chosen, seen = list(columns), dict(self.seen)
        low, high = (None if bound is None else bound[chosen] for bound in (self.low, self.high))
        codes = tuple((place, seen[column]) for place, column in enumerate(chosen) if column in seen)
        return type(self)(self.fill[chosen], self.center[chosen], self.scale[chosen], low, high, self.clip, codes)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        return {
            "fill": _numbers(self.fill),
            "center": _numbers(self.center),
            "scale": _numbers(self.scale),
            "low": _numbers(self.low),
            "high": _numbers(self.high),
            "clip": self.clip,
            "seen": [[column, list(known)] for column, known in self.seen],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild a frozen transform."""
        fill, center, scale = (_array(values[name]) for name in ("fill", "center", "scale"))
        low, high = (None if values[name] is None else _array(values[name]) for name in ("low", "high"))
        seen = tuple((column, tuple(known)) for column, known in values["seen"])
        return cls(fill, center, scale, low, high, clip=values["clip"], seen=seen)


def _part(x: FloatArray, rows: NDArray[np.intp] | None, columns: slice) -> FloatArray:
    return x[:, columns] if rows is None else x[rows, columns]


def _fit_block(x: FloatArray, config: PreprocessConfig) -> tuple[Statistics, ...]:
    """fill, center, scale, low and high of some columns (n, k)."""
    known = np.asarray(~np.isnan(x).all(axis=0))
    fill, low, high = (np.zeros(x.shape[1]) for _ in range(3))
    if config.impute == "median":
        fill[known] = np.nanmedian(x[:, known], axis=0)
    filled = np.where(np.isnan(x), fill, x).astype(np.float64)
    if config.clip_share and known.any():
        shares = [config.clip_share, 1 - config.clip_share]
        # Rounded as they will be applied.
        low[known], high[known] = np.nanquantile(x[:, known], shares, axis=0).astype(np.float32)
        np.clip(filled, low, high, out=filled)
    center, scale = _center_and_scale(filled, known, config.scale)
    return fill, center, scale, low, high


def _center_and_scale(
    filled: Statistics, known: NDArray[np.bool_], scale: Literal["standard", "minmax", "robust", "none"]
) -> tuple[Statistics, Statistics]:
    """What is subtracted and what is multiplied by."""
    mean, deviation = filled.mean(axis=0), filled.std(axis=0)
    if scale == "none":
        return np.zeros_like(mean), np.ones_like(mean)
    # A relative bound: float32 noise on a large constant is not information.
    noise = 1e-6 * np.maximum(1e-6, np.abs(mean))
    center, spread = mean, deviation
    if scale == "minmax":
        center, spread = filled.min(axis=0), np.ptp(filled, axis=0)
    elif scale == "robust":
        lower, center, upper = np.quantile(filled, [0.25, 0.5, 0.75], axis=0)
        # A flag that is mostly 0 has no interquartile range, and still says something.
        spread = np.where(upper - lower > noise, upper - lower, deviation)
    informative = known & (deviation > noise)
    return center, np.divide(1.0, spread, out=np.zeros_like(spread), where=informative)


def _seen(
    x: FloatArray, rows: NDArray[np.intp] | None, categorical: Sequence[int]
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    found = [(column, np.unique(_part(x, rows, slice(column, column + 1)))) for column in categorical]
    return tuple((column, tuple(int(code) for code in values if code != UNSEEN)) for column, values in found)


def _only(codes: FloatArray, known: tuple[int, ...]) -> FloatArray:
    """The codes that are known, and `UNSEEN` for the others."""
    return np.where(np.isin(codes, known), codes, np.float32(UNSEEN))


def _numbers(values: FloatArray | None) -> list[float | None] | None:
    """JSON has no NaN: null stands for it."""
    return None if values is None else [None if np.isnan(value) else float(value) for value in values]


def _array(values: Sequence[float | None]) -> FloatArray:
    return np.array(values, dtype=np.float32)
