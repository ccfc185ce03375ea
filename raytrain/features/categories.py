"""Columns of text or whole numbers as categories, and their codes."""

import polars as pl

from raytrain.data.frame import DATE, Frame
from raytrain.errors import ConfigError, DataError, did_you_mean

UNSEEN = 0
"""The code of what is unknown, or was never seen in training; seen categories count from 1."""


def require_categories(frame: Frame, name: str, wanted_by: str) -> None:
    """Refuse a column that cannot be read as categories.

    Raises:
        ConfigError: the frame has no such column.
        DataError: it holds numbers that are not whole.
    """
    columns = frame.table.columns[2:]
    if name not in columns:
        raise ConfigError(f"{wanted_by} must name a column of the frame, got `{name}`; {did_you_mean(name, columns)}")
    if frame.table.schema[name] == pl.String:
        return
    broken = frame.table.filter(pl.col(name).is_finite() & (pl.col(name) % 1 != 0))
    if not broken.is_empty():
        raise DataError(
            f"{wanted_by} must name a column of text or whole numbers, got {broken[name][0]} in `{name}`; "
            "name another column, or use it as a number"
        )


def as_label(frame: Frame, name: str) -> pl.Expr:
    """The column as text, whole numbers as `3`; null where unknown."""
    column = pl.col(name)
    if frame.table.schema[name] == pl.String:
        return column
    return pl.when(column.is_finite()).then(column).cast(pl.Int64).cast(pl.String)


def vocabulary(frame: Frame, name: str) -> tuple[str, ...]:
    """The categories in the order in which they first appeared, those of one date by name.

    So what comes later never changes the code of what came before.
    """
    first = frame.table.select(pl.col(DATE), as_label(frame, name).alias(name)).drop_nulls()
    return tuple(first.group_by(name).agg(pl.col(DATE).min()).sort(DATE, name)[name])


def codes(frame: Frame, name: str, labels: tuple[str, ...]) -> pl.Expr:
    """The place of each row's category in `labels`, counted from 1; `UNSEEN` for any other."""
    numbers = {label: number for number, label in enumerate(labels, 1)}
    return (
        as_label(frame, name)
        .replace_strict(list(numbers), list(numbers.values()), default=UNSEEN, return_dtype=pl.Float32)
        .fill_null(UNSEEN)
    )
