"""From a frame to the feature table."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.config import Section
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.errors import ConfigError, DataError, did_you_mean
from raytrain.features.steps import RSI, AnyStep, Calendar, LogReturn, Volatility, ZScore


class FeaturesConfig(Section):
    """Which features are built."""

    steps: tuple[AnyStep, ...] = (
        LogReturn(rows=(1, 2, 3, 5, 10, 21, 63)),
        Volatility(rows=(5, 21, 63)),
        ZScore(rows=(21, 63)),
        RSI(),
        Calendar(),
    )
    """Steps in order; each names its columns."""


@dataclass(frozen=True)
class FeatureTable:
    """Features row for row beside the frame."""

    names: tuple[str, ...]
    x: NDArray[np.float32]
    """(rows, features) float32, contiguous; NaN where unknown."""
    usable: NDArray[np.bool_]
    """(rows,) False on the warm-up rows of each series: the longest look-back."""


def build(frame: Frame, config: FeaturesConfig) -> FeatureTable:
    """Compute all features.

    Raises:
        ConfigError: a step names a column that is not there, or two steps make the same feature.
        DataError: a logarithm of a value of 0 or below is asked for.
    """
    for step in config.steps:
        for name in step.over(frame):
            if name not in frame.columns:
                raise ConfigError(
                    f"step `{step.step}` must name numeric columns, got `{name}`; {did_you_mean(name, frame.columns)}"
                )
            if step.needs_positive:
                _require_positive(frame, name, step.step)
    expressions = [expression for step in config.steps for expression in step.expressions(frame)]
    names = tuple(expression.meta.output_name() for expression in expressions)
    if not names:
        raise ConfigError("features.steps must make at least one feature, got none")
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"each feature may be made once, got {', '.join(sorted(twice))} twice in features.steps")
    table = frame.table.select(pl.col(SERIES), *(expression.cast(pl.Float32) for expression in expressions))
    x = np.ascontiguousarray(table.drop(SERIES).fill_null(float("nan")).to_numpy(order="c"))
    if np.isinf(x).any():
        worst = names[int(np.isinf(x).any(axis=0).argmax())]
        raise DataError(
            f"a feature must be finite or unknown, got infinity in `{worst}`; mend the column it is made of, or leave "
            "it out of features.steps"
        )
    lookback = max(step.lookback for step in config.steps)
    position = frame.table.select(pl.int_range(pl.len()).over(SERIES)).to_series().to_numpy()
    return FeatureTable(names, x, position >= lookback)


def _require_positive(frame: Frame, name: str, step: str) -> None:
    bad = frame.table.filter(pl.col(name) <= 0)
    if not bad.is_empty():
        series, when, value = bad.select(SERIES, DATE, name).row(0)
        raise DataError(
            f"step `{step}` takes logarithms and needs values above 0, got {value} in `{name}` for {series} on {when} "
            f"({bad.height} such rows); use step `difference` for this column, or drop these rows"
        )
