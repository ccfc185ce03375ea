"""Raw rows as the model of a bundle saw them: the same columns, steps, categories and order of series as in its run."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import DATE, SERIES, make_frame
from raytrain.data.numbers import is_number, is_text
from raytrain.deploy.contents import Bundle
from raytrain.deploy.schema import Column
from raytrain.errors import ConfigError, DataError, UserError, did_you_mean
from raytrain.features.build import FeatureTable, build
from raytrain.features.categories import UNSEEN
from raytrain.features.market import known_ahead
from raytrain.work.dataset import Dataset

Rows = NDArray[np.int64]
_PLACE = "the rows given"
_SHOWN = 5
"""Names that a message lists, at most."""


class BundleInput(UserError):
    """Rows that a bundle cannot forecast from."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Rows that a bundle can forecast from."""

    table: pl.DataFrame
    """The columns that are read, as they were given."""
    dataset: Dataset
    """Their features, codes and numbers of series those of the run."""
    newest: Rows
    """(series,) the newest row of each series."""
    origins: pl.DataFrame
    """series_id, date and close of those rows."""
    notes: tuple[str, ...]
    """What was ignored or counted as unknown."""


def prepare(bundle: Bundle, table: pl.DataFrame) -> Prepared:
    """Check raw rows and make of them what the model reads.

    Args:
        bundle: that will forecast.
        table: its columns, see `Bundle.schema`; dates rising within each series.

    Raises:
        BundleInput: a column is missing or of another type, a value is unknown where it must not be, a series is
            unknown or has too few rows.
    """
    chosen, notes = _chosen(bundle, table)
    frame = _frame(bundle, chosen)
    _require_series(bundle, frame)
    _require_rows(bundle, frame)
    try:
        features = build(frame, bundle.features)
        coded, unseen = _coded(bundle, features)
        dataset = _dataset(bundle, frame, coded)
    except (ConfigError, DataError) as error:
        raise BundleInput(f"the features of this bundle cannot be made of {_PLACE}: {error}") from None
    newest = np.flatnonzero(np.diff(dataset.series, append=-1)).astype(np.int64)
    origins = frame.table.select(SERIES, DATE, pl.col(frame.price).alias("close"))[newest.tolist()]
    return Prepared(
        table=chosen,
        dataset=dataset,
        newest=newest,
        origins=origins,
        notes=(*notes, *frame.notes, *unseen, *_behind(origins)),
    )


def _chosen(bundle: Bundle, table: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """The columns that are read, of the right types, and a note on others."""
    wanted = {column.name: column for column in bundle.schema.columns}
    if missing := [name for name, column in wanted.items() if column.required and name not in table.columns]:
        raise BundleInput(
            f"the table must have the column{'s' * (len(missing) > 1)} {_listed(missing)}, got none; add it. "
            f"{did_you_mean(missing[0], table.columns)}"
        )
    if table.is_empty():
        raise BundleInput(f"the table must have rows, got 0; give {bundle.schema.warm_up_rows} or more of each series")
    present = [name for name in wanted if name in table.columns]
    extra = [name for name in table.columns if name not in wanted]
    notes = [f"ignored {len(extra)} columns that the bundle does not read: {_listed(extra)}"] if extra else []
    return table.select(_typed(wanted[name], table[name], bundle.data) for name in present), notes


def _typed(column: Column, values: pl.Series, data: DataConfig) -> pl.Series:
    """The values, in a type that the column may have."""
    kind = values.dtype
    if kind == pl.Null and column.may_be_unknown:
        return values.cast(pl.Float64 if column.kind == "number" else pl.String)
    converts = data.policy.text_numbers == "convert"
    allowed = {
        "date": True,  # the frame says what a date is
        "series": is_text(kind) or kind.is_integer(),
        "number": is_number(kind) or (converts and is_text(kind)),
        "category": is_text(kind) or is_number(kind),
    }
    if not allowed[column.kind]:
        named = {"number": "numbers", "series": "the names of series", "category": "text or whole numbers"}
        raise BundleInput(f"`{column.name}` must hold {named[column.kind]}, got {kind}; convert the column")
    if not column.may_be_unknown and (unknown := _unknown(values)):
        raise BundleInput(
            f"`{column.name}` ({column.meaning}) must be known on every row, got {unknown} rows where it is null or "
            "NaN; drop or mend them"
        )
    return values


def _unknown(values: pl.Series) -> int:
    return values.null_count() + (int(values.is_nan().sum()) if values.dtype.is_float() else 0)


def _frame(bundle: Bundle, chosen: pl.DataFrame) -> Frame:
    # The columns are chosen already, and rows newer than the run's last date are what a bundle is for.
    data = bundle.data.model_copy(update={"columns": (), "exclude": (), "last_date": None})
    try:
        return make_frame(chosen, data, _PLACE, bundle.schema.series[0])
    except UserError as error:
        raise BundleInput(str(error)) from None


def _require_series(bundle: Bundle, frame: Frame) -> None:
    known = bundle.schema.series
    if strange := [name for name in frame.series if name not in known]:
        raise BundleInput(
            f"a series must be one that the model was trained on, got {_listed(strange)}; leave it out, or train on "
            f"it. {did_you_mean(strange[0], known)}"
        )


def _require_rows(bundle: Bundle, frame: Frame) -> None:
    need = bundle.schema.warm_up_rows
    rows = frame.table.group_by(SERIES, maintain_order=True).len()
    short = rows.filter(pl.col("len") < need)
    if not short.is_empty():
        series, count = short.row(0)
        raise BundleInput(
            f"a forecast reads at least {need} rows of a series, got {count} of {series}; give more of its past "
            f"({bundle.schema.advised_rows} or more, so that it matters no longer where they begin)"
        )


def _coded(bundle: Bundle, features: FeatureTable) -> tuple[FeatureTable, list[str]]:
    """The features with the codes of the run in place of those that these rows alone would give, and what is new."""
    if features.names != bundle.schema.features:
        differ = set(features.names).symmetric_difference(bundle.schema.features)
        raise BundleInput(
            f"{_PLACE} must give the features of the run, got others: {_listed(sorted(differ))}; give rows that are "
            "as far apart as those of the run"
        )
    notes = []
    for name, labels in features.categories.items():
        place = {label: code for code, label in enumerate(bundle.schema.categories[name], 1)}
        codes = np.array([UNSEEN, *(place.get(label, UNSEEN) for label in labels)], dtype=np.float32)
        column = features.x[:, features.names.index(name)]
        column[:] = codes[column.astype(np.intp)]
        if new := [label for label in labels if label not in place]:
            notes.append(f"`{name}`: the model knows no {_listed(new)}, which counts as unknown")
    return features, notes


def _dataset(bundle: Bundle, frame: Frame, features: FeatureTable) -> Dataset:
    """As in the run, for these rows."""
    targets = bundle.spec.targets
    ahead = None
    if bundle.looks_ahead:
        ahead = known_ahead(frame, bundle.features, features, max(target.horizon for target in targets))
    made = Dataset.build(frame, features, targets, ahead=ahead)
    known = bundle.schema.series
    number = np.array([known.index(name) for name in made.meta["series"]], dtype=np.int32)
    frozen = {
        "series": list(known),
        "categories": {name: list(labels) for name, labels in bundle.schema.categories.items()},
    }
    return Dataset({**made.meta, **frozen}, {**made.arrays, "series": number[made.series]})


def _behind(origins: pl.DataFrame) -> list[str]:
    newest = origins[DATE].max()
    late = origins.filter(pl.col(DATE) < newest).select(SERIES, DATE)
    return [f"the newest row of {series} is of {date:%Y-%m-%d %H:%M}" for series, date in late.rows()]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
