"""The dataset on disk is the one in memory, and hashes see the past only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.data import Frame
from raytrain.data.frame import DATE
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.preprocess import PreprocessConfig
from raytrain.folds import Fold, FoldsConfig, latest, walk_forward
from raytrain.work.dataset import UNKNOWN_DATE, Dataset

AsFrame = Callable[[pl.DataFrame], Frame]
AsDataset = Callable[[Frame], Dataset]
TARGETS = ("return_1d", "return_1w", "threshold_1w")
DAY_NS = 86_400 * 10**9


def test_what_is_built(dataset: Dataset, frame: Frame) -> None:
    assert dataset.meta == {
        "features": ["close_ret_1", "close_ret_5", "other_z_10"],
        "known": [],
        "categories": {},
        "preprocess": {"impute": "median", "clip_share": 0.0, "scale": "standard", "clip": 10.0},
        "series": ["A", "B"],
        "targets": list(TARGETS),
    }
    assert (dataset.x.shape, dataset.x.dtype) == ((900, 3), np.float32)
    assert dataset.series.tolist() == [0] * 500 + [1] * 400
    assert dataset.usable.tolist() == [False] * 9 + [True] * 491 + [False] * 9 + [True] * 391
    np.testing.assert_array_equal(dataset.date, frame.table[DATE].dt.timestamp("ns"))
    close = frame.table["close"].to_numpy()
    np.testing.assert_allclose(dataset.y("return_1w")[:495], np.log(close[5:500] / close[:495]), rtol=1e-5)
    assert np.isnan(dataset.y("return_1w")[495:500]).all()
    assert dataset.label_date("return_1w")[:495].tolist() == dataset.date[5:500].tolist()
    assert (dataset.label_date("return_1w")[495:500] == UNKNOWN_DATE).all()


def test_opened_arrays_are_the_saved_ones_mapped(dataset: Dataset, tmp_path: Path) -> None:
    opened = Dataset.open(dataset.save(tmp_path))
    assert (opened.meta, opened.name, dataset.name) == (dataset.meta, next(tmp_path.iterdir()).name, "")
    assert set(opened.arrays) == set(dataset.arrays)
    for name, array in dataset.arrays.items():
        assert isinstance(opened.arrays[name], np.memmap)
        assert opened.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(opened.arrays[name], array)


def test_hashes_are_the_same_in_memory_and_mapped(dataset: Dataset, folds: list[Fold], tmp_path: Path) -> None:
    opened = Dataset.open(dataset.save(tmp_path))
    assert opened.seen_hashes(folds) == dataset.seen_hashes(folds)
    assert opened.label_hash(folds[0], "return_1w") == dataset.label_hash(folds[0], "return_1w")
    assert opened.save(tmp_path) == dataset.save(tmp_path)


def test_saving_twice_writes_once(dataset: Dataset, tmp_path: Path) -> None:
    folder = dataset.save(tmp_path)
    inode = (folder / "x.npy").stat().st_ino
    assert dataset.save(tmp_path) == folder
    assert (folder / "x.npy").stat().st_ino == inode
    assert list(tmp_path.iterdir()) == [folder]


def test_a_dataset_that_is_saved_again_counts_as_used(
    dataset: Dataset, tmp_path: Path, age: Callable[[Path], None]
) -> None:
    folder = dataset.save(tmp_path)
    age(folder)
    before = folder.stat().st_mtime
    dataset.save(tmp_path)
    assert folder.stat().st_mtime > before


def test_other_content_has_another_folder(
    dataset: Dataset, table: pl.DataFrame, as_frame: AsFrame, as_dataset: AsDataset, tmp_path: Path
) -> None:
    changed = table.with_columns(other=pl.when(pl.int_range(pl.len()) == 700).then(0.0).otherwise("other"))
    renamed = table.with_columns(pl.col("series_id").replace("B", "C"))
    folders = {one.save(tmp_path) for one in (dataset, *(as_dataset(as_frame(t)) for t in (changed, renamed)))}
    assert len(folders) == 3


def test_another_process_may_save_the_same_first(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = np.save

    def overtaken(*args: Any, **rest: Any) -> None:
        monkeypatch.setattr(np, "save", real)
        dataset.save(tmp_path)
        real(*args, **rest)

    monkeypatch.setattr(np, "save", overtaken)
    folder = dataset.save(tmp_path)
    np.testing.assert_array_equal(Dataset.open(folder).x, dataset.x)
    assert list(tmp_path.iterdir()) == [folder]


def test_train_rows_are_usable_and_known(dataset: Dataset, folds: list[Fold]) -> None:
    for fold in folds:
        expected = dataset.usable & (dataset.label_date("return_1w") <= fold.cutoff)
        np.testing.assert_array_equal(dataset.train_rows(fold, "return_1w"), expected)
        assert 0 < expected.sum() < 900


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(330, 499), seed=st.integers(0, 2**31))
def test_the_future_changes_nothing_before_it(
    cut: int, seed: int, table: pl.DataFrame, dataset: Dataset, as_frame: AsFrame, as_dataset: AsDataset
) -> None:
    """Noise after a date leaves features, labels known by then, folds and hashes of the past as they are, to the bit;
    so does a table that ends there."""
    last = table["date"].unique().sort()[cut]
    future, noise = pl.col("date") > last, pl.Series(np.random.default_rng(seed).uniform(1, 900, table.height))
    poisoned = table.with_columns(
        pl.when(future).then(noise).otherwise(name).alias(name) for name in ("close", "other")
    )
    past = (table["date"] <= last).to_numpy()
    dates = table["date"].filter(pl.Series(past))
    newest = int(dates.dt.timestamp("ns").to_numpy().max())
    every = walk_forward(dates, FoldsConfig(test_span="1mo", num_folds=10))
    done = [fold for fold in every if fold.test_end <= newest + DAY_NS]
    assert len(done) >= 9

    def seen(one: Dataset, rows: np.ndarray) -> list[object]:
        facts: list[object] = [one.seen_hashes(every), one.path_hashes(every, "log"), one.block_hashes(done, ["log"])]
        facts += [one.x[rows].tobytes(), one.usable[rows].tobytes()]
        for target in TARGETS:
            known = rows & (one.label_date(target) <= newest)
            facts += [one.y(target)[known].tobytes(), one.label_date(target)[known].tobytes()]
            facts += [one.label_hash(fold, target) for fold in every]
        return facts

    expected = seen(dataset, past)
    assert seen(as_dataset(as_frame(poisoned)), past) == expected
    ended = as_dataset(as_frame(table.filter(~future)))
    assert seen(ended, np.ones(len(ended.date), dtype=bool)) == expected
    longer = {fold.name: fold for fold in walk_forward(table["date"], FoldsConfig(test_span="1mo", num_folds=16))}
    assert [longer[fold.name] for fold in every] == every


@settings(max_examples=25, deadline=None)
@given(row=st.integers(0, 899), array=st.sampled_from(["x", "usable", "date"]))
def test_every_value_is_in_one_hash_or_the_other(row: int, array: str, dataset: Dataset, folds: list[Fold]) -> None:
    """What a fit could have been trained on, and what its block is forecast from."""
    values = dataset.arrays[array].copy()
    # One nanosecond earlier, not any other date: dates must go on rising.
    changed = {"x": 7, "usable": ~dataset.usable[row], "date": dataset.date[row] - 1}
    values[row] = changed[array]
    other = Dataset(dataset.meta, dataset.arrays | {array: values})
    seen = [one.seen_hashes(folds) for one in (dataset, other)]
    block = [one.block_hashes(folds) for one in (dataset, other)]
    for fold in folds:
        date = dataset.date[row]
        assert (seen[0][fold.name] != seen[1][fold.name]) == (date <= fold.cutoff), fold
        assert (block[0][fold.name] != block[1][fold.name]) == (fold.cutoff < date < fold.test_end), fold


def test_a_fold_that_starts_on_its_cutoff_has_a_block(dataset: Dataset, frame: Frame) -> None:
    """The newest row is known when its forecast is made, but what it knows ahead is nobody's training."""
    newest = latest(frame.table[DATE], FoldsConfig())
    table = np.zeros((905, 1), dtype=np.float32)
    looking = [
        Dataset(dataset.meta, dataset.arrays | {"ahead": values, "ahead_at": np.arange(900)})
        for values in (table, np.where(np.arange(905)[:, None] == 900, np.float32(1), table))
    ]
    seen, path, block = (
        {str(hashes) for hashes in found}
        for found in (
            [one.seen_hashes([newest]) for one in looking],
            [one.path_hashes([newest], "log", 5) for one in looking],
            [one.block_hashes([newest], ["log"], 5) for one in looking],
        )
    )
    assert (len(seen), len(path), len(block)) == (1, 1, 2)


def test_what_training_rows_know_ahead_is_hashed_and_no_more(dataset: Dataset, folds: list[Fold]) -> None:
    """Training rows lie so far back that the rows ahead of them were known at the cut-off."""
    steps, (fold, *_), table = 5, folds, np.zeros((905, 1), dtype=np.float32)
    known = np.flatnonzero((dataset.series == 0) & (dataset.date <= fold.cutoff))
    hashes = []
    for row in (None, known[-1], known[-1] + 1):
        changed = table.copy()
        if row is not None:
            changed[row] = 1
        arrays = dataset.arrays | {"ahead": changed, "ahead_at": np.arange(900)}
        hashes.append(Dataset(dataset.meta, arrays).path_hashes([fold], "log", steps))
    assert hashes[0] != hashes[1]
    assert hashes[0] == hashes[2]


@pytest.mark.parametrize("kept", [[0], [2], [1, 2], [2, 0, 1]])
def test_a_hash_does_not_depend_on_the_other_folds(kept: list[int], dataset: Dataset, folds: list[Fold]) -> None:
    """Tomorrow's run has other folds beside this one; a fit that is done must stay done."""
    every = dataset.seen_hashes(folds)
    some = dataset.seen_hashes([folds[index] for index in kept])
    assert some == {folds[index].name: every[folds[index].name] for index in kept}


def test_a_series_that_begins_later_does_not_touch_the_past(
    table: pl.DataFrame, dataset: Dataset, as_frame: AsFrame, as_dataset: AsDataset
) -> None:
    """A newly listed symbol must not have everything fitted again."""
    alone = as_dataset(as_frame(table.filter(series_id="A")))
    months = walk_forward(table["date"], FoldsConfig(test_span="1mo", num_folds=16))
    before, after = alone.seen_hashes(months), dataset.seen_hashes(months)
    same = [fold.name for fold in months if before[fold.name] == after[fold.name]]
    assert same == ["2019-02-01", "2019-03-01", "2019-04-01"], "B begins on 2019-04-11"
    same = [fold.name for fold in months if alone.series_hash(fold) == dataset.series_hash(fold)]
    assert same == ["2019-02-01", "2019-03-01"], "it is forecast in the block of 2019-04-01"


@pytest.mark.parametrize("changes", [{"known": [2]}, {"categories": {"other_z_10": ["a"]}}])
def test_what_is_configured_is_in_the_hash(changes: dict[str, Any], dataset: Dataset, folds: list[Fold]) -> None:
    changed = Dataset({**dataset.meta, **changes}, dataset.arrays).seen_hashes(folds)
    same = {fold for fold, found in dataset.seen_hashes(folds).items() if changed[fold] == found}
    assert not same


def test_the_path_and_what_is_known_ahead_are_hashed_apart(dataset: Dataset, folds: list[Fold]) -> None:
    before = dataset.path_hashes(folds, "log")
    moved = dataset.arrays["change-log"].copy()
    moved[np.flatnonzero(dataset.date <= folds[-1].cutoff)[-1]] += 1e-9
    after = Dataset(dataset.meta, dataset.arrays | {"change-log": moved}).path_hashes(folds, "log")
    assert [after[fold.name] == before[fold.name] for fold in folds] == [True, True, False]
    assert dataset.seen_hashes(folds) == Dataset(dataset.meta, dataset.arrays | {"change-log": moved}).seen_hashes(
        folds
    )
    ahead = np.zeros((len(dataset.date) + 5, 1), dtype=np.float32)
    calendar = {"ahead": ahead, "ahead_at": np.arange(len(dataset.date))}
    looking = Dataset(dataset.meta, dataset.arrays | calendar)
    changed = Dataset(dataset.meta, dataset.arrays | calendar | {"ahead": ahead + 1})
    assert looking.path_hashes(folds, "log") == before
    assert looking.path_hashes(folds, "log", 5) != changed.path_hashes(folds, "log", 5)


def test_what_is_known_and_categorical_goes_along(frame: Frame, tmp_path: Path) -> None:
    moods = pl.Series("mood", ["calm", "wild", "calm"] * 300)
    config = FeaturesConfig(categorical=("mood",), known=("mood",), preprocess=PreprocessConfig(scale="robust"))
    features = build(replace(frame, table=frame.table.with_columns(moods)), config)
    built = Dataset.build(frame, features, ())
    opened = Dataset.open(built.save(tmp_path))
    mood = len(features.names) - 1
    assert opened.meta == built.meta
    assert opened.meta["known"] == [mood]
    assert opened.meta["categories"] == {"mood": ["calm", "wild"]}
    assert opened.categorical == [mood]
    assert opened.preprocess == PreprocessConfig(scale="robust")


def test_seen_hashes_see_the_names(dataset: Dataset, folds: list[Fold]) -> None:
    hashes = dataset.seen_hashes(folds[:1])
    for name, values in {"features": ["a", "b", "c"], "series": ["A", "C"]}.items():
        assert Dataset({**dataset.meta, name: values}, dataset.arrays).seen_hashes(folds[:1]) != hashes


def test_label_hash_sees_training_labels_only(dataset: Dataset, folds: list[Fold]) -> None:
    train = dataset.train_rows(folds[0], "return_1w")
    before = dataset.label_hash(folds[0], "return_1w")
    for row, differs in ((int(np.flatnonzero(train)[-1]), True), (int(np.flatnonzero(~train)[-1]), False)):
        y = dataset.y("return_1w").copy()
        y[row] = 0.5
        changed = Dataset(dataset.meta, dataset.arrays | {"y-return_1w": y})
        assert (changed.label_hash(folds[0], "return_1w") != before) is differs
