"""From a frame to the feature table."""

from collections import Counter
from collections.abc import Iterable, Mapping
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
from raytrain.features.steps.base import Piece, select
from raytrain.features.steps.panel import Panel

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
    panel, columns = Panel.of(frame), frame.columns
    for step in config.steps:
        _check_step(panel, columns, step, config)
    for name in config.categorical:
        require_categories(frame, name, "features.categorical")
    categories = {name: vocabulary(frame, name) for name in config.categorical}
    parts = [_Part(step.names(frame), step.pieces(panel), _is_known(step, frame, config)) for step in config.steps]
    parts += [_coded(frame, name, labels, name in config.known) for name, labels in categories.items()]
    names = _names(parts)
    known = [part.known for part in parts for _ in part.names]
    return FeatureTable(
        names=names,
        x=_compute(parts, names, frame.table.height),
        usable=panel.positions() >= max((step.lookback for step in config.steps), default=0),
        known=tuple(np.flatnonzero(known).tolist()),
        categories=categories,
        preprocess=config.preprocess,
    )


@dataclass(frozen=True)
class _Part:
    """What one step, or one categorical column, adds to the table."""

    names: list[str]
    pieces: Iterable[Piece]
    known: bool


def _coded(frame: Frame, name: str, labels: tuple[str, ...], known: bool) -> _Part:
    return _Part([name], [select(frame, [codes(frame, name, labels)])], known)


def _check_known(frame: Frame, config: FeaturesConfig) -> None:
    columns = [*frame.columns, *frame.texts, CALENDAR]
    for name in config.known:
        if name not in columns:
            raise ConfigError(f"features.known must name columns, got `{name}`; {did_you_mean(name, columns)}")
        if name in (frame.price, frame.high):
            raise ConfigError(f"features.known must not name a price, got `{name}`: its future is what models predict")


def _check_step(panel: Panel, columns: list[str], step: Step, config: FeaturesConfig) -> None:
    frame = panel.frame
    for name in step.over(frame):
        if name not in columns:
            raise ConfigError(
                f"step `{step.step}` must name numeric columns, got `{name}`; {did_you_mean(name, columns)}"
            )
        if step.needs_positive and (panel.column(name) <= 0).any():
            raise _not_positive(frame, name, step.step)
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


def known_part(frame: Frame, config: FeaturesConfig) -> FeaturesConfig:
    """The steps and categorical columns whose features are known in advance."""
    steps = tuple(step for step in config.steps if _is_known(step, frame, config))
    categorical = tuple(name for name in config.categorical if name in config.known)
    return config.model_copy(update={"steps": steps, "categorical": categorical})


def _names(parts: list[_Part]) -> tuple[str, ...]:
    names = tuple(name for part in parts for name in part.names)
    if not names:
        raise ConfigError("features.steps must make at least one feature, got none")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ConfigError(f"each feature may be made once, got {', '.join(sorted(twice))} twice in features.steps")
    return names


@np.errstate(all="ignore")
def _compute(parts: list[_Part], names: tuple[str, ...], num_rows: int) -> NDArray[np.float32]:
    """(rows, features)."""
    _keep_freed_memory()
    x = np.empty((num_rows, len(names)), dtype=np.float32)
    first = 0
    for part in parts:
        for piece in part.pieces:
            columns = slice(first + piece.first, first + piece.first + len(piece.values))
            _require_finite(piece.values, names[columns])
            x[piece.rows, columns] = piece.values.T
        first += len(part.names)
    return x


def _keep_freed_memory() -> None:
    """Let the allocator keep the memory of intermediate arrays for the next ones.

    glibc gives freed memory back to the system until a larger block has been freed than those in use (mallopt(3),
    M_MMAP_THRESHOLD); to get it again costs several times the arithmetic.
    """
    np.empty(2**24, np.int8)


def _require_finite(values: NDArray[np.float32], names: tuple[str, ...]) -> None:
    infinite = np.isinf(values).any(axis=1)
    if infinite.any():
        raise DataError(
            f"a feature must be finite or unknown, got infinity in `{names[int(infinite.argmax())]}`; mend the column "
            "it is made of, or leave it out of features.steps"
        )


def _not_positive(frame: Frame, name: str, step: str) -> DataError:
    bad = frame.table.filter(pl.col(name) <= 0)
    series, when, value = bad.select(SERIES, DATE, name).row(0)
    return DataError(
        f"step `{step}` takes logarithms and needs values above 0, got {value} in `{name}` for {series} on {when} "
        f"({bad.height} such rows); use step `difference` for this column, or drop these rows"
    )
