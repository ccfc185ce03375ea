"""Rows that a bundle cannot forecast from are refused with the rule, the value and the way out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.deploy.bundle import Bundle
from raytrain.deploy.inputs import BundleInput, prepare

Change = Callable[[pl.DataFrame], pl.DataFrame]


def _at(row: int, name: str, value: Any) -> Change:
    """Put a value into one row."""
    return lambda table: table.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(pl.col(name)).alias(name)
    )


REFUSED: dict[str, tuple[Change, str]] = {
    "no price": (lambda table: table.drop("close"), "must have the column close, got none; add it"),
    "misspelt": (lambda table: table.rename({"other": "othr"}), "column other, got none; add it. did you mean `othr`"),
    "two missing": (lambda table: table.drop("high", "regime"), "must have the columns high, regime"),
    "no rows": (lambda table: table.clear(), "must have rows, got 0"),
    "text for numbers": (
        lambda table: table.with_columns(pl.col("other").cast(pl.String)),
        "`other` must hold numbers, got String; convert the column",
    ),
    "lists": (lambda table: table.with_columns(pl.concat_list("close").alias("close")), r"`close` must hold numbers"),
    "dates for series": (
        lambda table: table.with_columns(pl.col("date").alias("series_id")),
        "`series_id` must hold the names of series, got Datetime",
    ),
    "numbers for dates": (
        lambda table: table.with_columns(pl.lit(1.5).alias("date")),
        "`date` must hold dates or times",
    ),
    "NaN in the price": (_at(3, "close", float("nan")), r"`close` \(price\) must be known on every row, got 1 rows"),
    "null in the price": (_at(3, "close", None), r"`close` \(price\) must be known on every row, got 1 rows"),
    "null in the high": (_at(3, "high", None), r"`high` \(highest price of the row\) must be known"),
    "no date": (_at(3, "date", None), "`date` .* must be known on every row"),
    "no series": (_at(3, "series_id", None), "`series_id` .* must be known on every row"),
    "infinite price": (_at(3, "close", float("inf")), "price must be known and finite on every row, got inf"),
    "negative price": (_at(3, "close", -1.0), "needs values above 0, got -1.0 in `close`"),
    "a new series": (
        lambda table: table.with_columns(pl.col("series_id").replace("B", "BB")),
        "must be one that the model was trained on, got BB; leave it out, or train on it. did you mean `B`",
    ),
    "one row twice": (lambda table: pl.concat([table[:1], table]), "a series may have one row per date, got 2 for A"),
    "falling dates": (lambda table: table.reverse(), "dates must rise within a series"),
    "too few rows": (lambda table: table[-3:], "reads at least .* rows of a series, got 3 of B; give more of its past"),
    "hours": (
        lambda table: table.with_columns(pl.col("date").dt.offset_by("3h")),
        "must give the features of the run, got others: hour",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(world: Any, name: str) -> None:
    change, said = REFUSED[name]
    with pytest.raises(BundleInput, match=said):
        prepare(Bundle.read(world.made("har")), change(world.table))


def test_every_part_of_the_dataset_is_that_of_the_run(world: Any) -> None:
    """Features, codes, numbers of series and paths, to the bit."""
    bundle = Bundle.read(world.made("har"))
    prepared = prepare(bundle, world.table)
    for name, array in prepared.dataset.arrays.items():
        expected = world.dataset.arrays[name]
        if not name.startswith("ahead"):
            np.testing.assert_array_equal(array, expected, name)
    horizon = bundle.spec.targets[0].horizon
    ends = prepared.newest
    np.testing.assert_array_equal(prepared.dataset.ahead.of(ends, horizon), world.dataset.ahead.of(ends, horizon))
    assert prepared.dataset.categorical == world.dataset.categorical
    assert prepared.notes == ()


def test_columns_that_are_not_read_are_ignored_with_a_note(world: Any) -> None:
    more = world.table.with_columns(extra=pl.lit("x"), open=pl.lit(1.0))
    prepared = prepare(Bundle.read(world.made("har")), more)
    assert prepared.notes == ("ignored 2 columns that the bundle does not read: extra, open",)
    assert set(prepared.table.columns) == set(world.table.columns)


def test_a_new_category_counts_as_unknown_with_a_note(world: Any) -> None:
    bundle = Bundle.read(world.made("har"))
    column = bundle.schema.features.index("regime")
    new, unknown = (prepare(bundle, _at(499, "regime", value)(world.table)) for value in ("panic", None))
    assert new.notes == ("`regime`: the model knows no panic, which counts as unknown",)
    assert new.dataset.x[499, column] == unknown.dataset.x[499, column] == 0
    np.testing.assert_array_equal(new.dataset.x, unknown.dataset.x)


def test_unknown_numbers_are_what_they_were_in_training(world: Any) -> None:
    prepared = prepare(Bundle.read(world.made("har")), world.table.with_columns(pl.lit(None).alias("other")))
    column = world.dataset.meta["features"].index("other_z_10")
    assert np.isnan(prepared.dataset.x[:, column]).all()


def test_infinity_is_refused_where_a_feature_would_be(world: Any) -> None:
    bundle = Bundle.read(world.made("har"))
    table = _at(499, "other", float("inf"))(world.table)
    assert "`other`: 1 infinite values are kept; no feature can be made of them" in prepare(bundle, table).notes
    as_is = bundle.features.model_validate({"steps": [{"step": "as_is", "columns": ["other"]}]})
    with pytest.raises(BundleInput, match="a feature must be finite or unknown, got infinity in `other`"):
        prepare(replace(bundle, features=as_is), table)


def test_whole_numbers_and_text_dates_will_do(world: Any) -> None:
    bundle = Bundle.read(world.made("har"))
    changed = world.table.with_columns(
        pl.col("date").dt.strftime("%Y-%m-%d"), pl.col("other").fill_nan(None), pl.col("regime").cast(pl.Categorical)
    )
    np.testing.assert_array_equal(prepare(bundle, changed).dataset.x, world.dataset.x)


def test_the_order_of_series_and_columns_is_free(world: Any) -> None:
    bundle = Bundle.read(world.made("har"))
    parts = world.table.partition_by("series_id", maintain_order=True)
    mixed = pl.concat(parts[::-1]).select(world.table.columns[::-1])
    np.testing.assert_array_equal(prepare(bundle, mixed).dataset.x, world.dataset.x)


def test_the_windows_of_features_need_no_more_than_the_warm_up(world: Any) -> None:
    """What is made of windows is equal to the bit on the fewest rows; recursive averages are not."""
    bundle = Bundle.read(world.made("har"))
    few = prepare(bundle, world.table.filter(series_id="A")[-bundle.schema.warm_up_rows :])
    newest, whole = few.dataset.x[-1], world.dataset.x[499]
    names = np.array(bundle.schema.features)
    differ = names[~np.isclose(newest, whole, rtol=0, atol=0, equal_nan=True)].tolist()
    assert differ == ["close_rsi_14"]
