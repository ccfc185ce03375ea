"""From columns of levels to what moves from row to row."""

from collections.abc import Mapping, Sequence

import polars as pl

from raytrain.data.frame import DATE, SERIES, Frame
from raytrain.errors import ConfigError, DataError, did_you_mean
from raytrain.features.correlations.config import Change


def require_columns(names: Sequence[str], frame: Frame) -> None:
    """Every name is a numeric column.

    Raises:
        ConfigError: one is not; with the nearest name.
    """
    for name in names:
        if name not in frame.columns:
            what = "a column of text" if name in frame.texts else f"no column of {frame.source}"
            raise ConfigError(
                f"correlations must name columns of numbers, `{name}` is {what}; {did_you_mean(name, frame.columns)}"
            )


def resolve(names: Sequence[str], frame: Frame, given: Mapping[str, Change], default: Change) -> dict[str, Change]:
    """What is compared of each column, `auto` replaced by what it means for this frame.

    Raises:
        DataError: infinity, or a log return of a value of 0 or below is asked for.
    """
    facts = frame.table.lazy().select(
        *(pl.col(name).fill_nan(None).min().alias(f"low {name}") for name in names),
        *(pl.col(name).is_infinite().sum().alias(f"infinite {name}") for name in names),
    )
    row = facts.collect().row(0, named=True)
    found: dict[str, Change] = {}
    for name in names:
        if infinite := row[f"infinite {name}"]:
            raise DataError(
                f"a column must be finite or unknown to be compared, got {infinite} infinite values in `{name}` of "
                f"{frame.source}; mend them, or set data.policy.infinite to mask"
            )
        low, change = row[f"low {name}"], given.get(name, default)
        positive = low is not None and low > 0
        if change == "log" and low is not None and not positive:
            raise DataError(
                f"a log return needs values above 0, got {low} in `{name}` of {frame.source}; use `difference` for it"
            )
        found[name] = ("log" if positive else "difference") if change == "auto" else change
    return found


def changes(frame: Frame, kinds: Mapping[str, Change]) -> pl.LazyFrame:
    """Series, date and the change of each column since the row before; null on a series' first row and where one of
    the two values is unknown."""
    return frame.table.lazy().select(SERIES, DATE, *(_change(name, kind) for name, kind in kinds.items()))


def _change(name: str, kind: Change) -> pl.Expr:
    value = pl.col(name).fill_nan(None)
    if kind == "none":
        return value
    before = value.shift(1).over(SERIES)
    return (value / before).log().alias(name) if kind == "log" else (value - before).alias(name)
