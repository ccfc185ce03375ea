"""From a frame to the feature table."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.config import Section
from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.errors import ConfigError, DataError, did_you_mean
from raytrain.features.categories import codes, require_categories, vocabulary
from raytrain.features.preprocess import PreprocessConfig
from raytrain.features.steps import RSI, AnyStep, Calendar, LogReturn, Step, Volatility, ZScore

CALENDAR = "calendar"


class FeaturesConfig(Section):
    """Which features are built, and how models that ask for it see them."""

    steps: tuple[AnyStep, ...] = (
        LogReturn(rows=(1, 2, 3, 5, 10, 21, 63)),
        Volatility(rows=(5, 21, 63)),
        ZScore(rows=(21, 63)),
        RSI(),
        Calendar(),
    )
    """Steps in order; each names its columns."""
    categorical: tuple[str, ...] = ()
    """Columns of text or whole numbers that become one feature of integer codes each, after those of the steps."""
    known: tuple[str, ...] = (CALENDAR,)
    """Columns whose future values are known in advance (`is_wasde_day`, `days_to_expiry`), and `calendar` for the date
    itself. Features made of nothing else may be seen ahead."""
    preprocess: PreprocessConfig = PreprocessConfig()
    """What families with scaled inputs see in place of the features; fitted on each fold's training rows."""


@dataclass(frozen=True)
class FeatureTable:
    """Features row for row beside the frame."""

    names: tuple[str, ...]
    x: NDArray[np.float32]
    """(rows, features) float32, contiguous; NaN where unknown."""
    usable: NDArray[np.bool_]
    """(rows,) False on the warm-up rows of each series: the longest look-back."""
    known: tuple[int, ...]
    """Indices of the features whose future values are known in advance."""
    categories: Mapping[str, tuple[str, ...]]
    """Categorical feature -> its categories; the code is the place, counted from 1."""
    preprocess: PreprocessConfig


def build(frame: Frame, config: FeaturesConfig) -> FeatureTable:
    """Compute all features.

    Raises:
        ConfigError: a step names a column that is not there, reads ahead what is not known in advance, or two steps
            make the same feature.
        DataError: a logarithm of a value of 0 or below is asked for, or a feature is infinite.
    """
    _check_known(frame, config)
    for step in config.steps:
        _check_step(frame, step, config)
    for name in config.categorical:
        require_categories(frame, name, "features.categorical")
    categories = {name: vocabulary(frame, name) for name in config.categorical}
    parts = [
        _Part(step.stages(frame), step.expressions(frame), _is_known(step, frame, config)) for step in config.steps
    ]
    parts += [
        _Part([], [codes(frame, name, labels).alias(name)], name in config.known) for name, labels in categories.items()
    ]
    names = _names(parts)
    known = [part.known for part in parts for _ in part.expressions]
    return FeatureTable(
        names=names,
        x=_compute(frame.table, parts, names),
        usable=_position(frame) >= max((step.lookback for step in config.steps), default=0),
        known=tuple(np.flatnonzero(known).tolist()),
        categories=categories,
        preprocess=config.preprocess,
    )


@dataclass(frozen=True)
class _Part:
    """What one step, or one categorical column, adds to the table."""

    stages: list[list[pl.Expr]]
    expressions: list[pl.Expr]
    known: bool


def _check_known(frame: Frame, config: FeaturesConfig) -> None:
    columns = [*frame.columns, *frame.texts, CALENDAR]
    for name in config.known:
        if name not in columns:
            raise ConfigError(f"features.known must name columns, got `{name}`; {did_you_mean(name, columns)}")
        if name in (frame.price, frame.high):
            raise ConfigError(f"features.known must not name a price, got `{name}`: its future is what models predict")


def _check_step(frame: Frame, step: Step, config: FeaturesConfig) -> None:
    for name in step.over(frame):
        if name not in frame.columns:
            raise ConfigError(
                f"step `{step.step}` must name numeric columns, got `{name}`; {did_you_mean(name, frame.columns)}"
            )
        if step.needs_positive:
            _require_positive(frame, name, step.step)
    for name in step.over_text():
        require_categories(frame, name, f"step `{step.step}`")
    if step.looks_ahead and not _is_known(step, frame, config):
        raise ConfigError(
            f"step `{step.step}` reads ahead and may do so only for columns known in advance, got "
            f"{', '.join(step.over(frame))}; if it is published before, name it in features.known"
        )


def _is_known(step: Step, frame: Frame, config: FeaturesConfig) -> bool:
    """Whether the step is made of nothing but what is known in advance."""
    reads = {*step.over(frame), *step.over_text()} or {CALENDAR}
    return reads <= set(config.known)


def _names(parts: list[_Part]) -> tuple[str, ...]:
    names = tuple(expression.meta.output_name() for part in parts for expression in part.expressions)
    if not names:
        raise ConfigError("features.steps must make at least one feature, got none")
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"each feature may be made once, got {', '.join(sorted(twice))} twice in features.steps")
    return names


def _compute(table: pl.DataFrame, parts: list[_Part], names: tuple[str, ...]) -> NDArray[np.float32]:
    """(rows, features); part by part, so that only one part's stages are in memory."""
    x = np.empty((table.height, len(names)), dtype=np.float32)
    first = 0
    for part in parts:
        columns = slice(first, first + len(part.expressions))
        first = columns.stop
        x[:, columns] = _compute_part(table, part).to_numpy()
        if np.isinf(x[:, columns]).any():
            worst = names[columns][int(np.isinf(x[:, columns]).any(axis=0).argmax())]
            raise DataError(
                f"a feature must be finite or unknown, got infinity in `{worst}`; mend the column it is made of, or "
                "leave it out of features.steps"
            )
    return x


def _compute_part(table: pl.DataFrame, part: _Part) -> pl.DataFrame:
    """The part's features, all in one pass."""
    for stage in part.stages:
        shared = {one.meta.output_name(): one for one in stage}
        table = table.with_columns(one.over(SERIES) for one in shared.values())
    return table.select(one.cast(pl.Float32).fill_null(float("nan")) for one in part.expressions)


def _position(frame: Frame) -> NDArray[np.int64]:
    """(rows,) how many rows of the series lie before each row."""
    return frame.table.select(pl.int_range(pl.len()).over(SERIES)).to_series().to_numpy()


def _require_positive(frame: Frame, name: str, step: str) -> None:
    bad = frame.table.filter(pl.col(name) <= 0)
    if not bad.is_empty():
        series, when, value = bad.select(SERIES, DATE, name).row(0)
        raise DataError(
            f"step `{step}` takes logarithms and needs values above 0, got {value} in `{name}` for {series} on {when} "
            f"({bad.height} such rows); use step `difference` for this column, or drop these rows"
        )
