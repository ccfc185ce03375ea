"""An ensemble waits for what it reads, reads it row for row, and learns only from what was known at its cut-off."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.errors import ConfigError, FitError
from raytrain.families.ensemble import Ensemble, EnsembleParams
from raytrain.folds import Fold, FoldsConfig, latest
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.members import MemberTable, Place, columns_of, members_of, require_members
from raytrain.work.plan import Plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

DAY = 86_400 * 10**9
TARGET = "return_1w"
COLUMNS = ["q0.1", "q0.5", "q0.9"]
PARAMS = {
    "ensemble": {"members": ["naive", "drift"], "binary_members": ["naive", "drift"], "weights": "learned"},
    "naive": {"window": 60},
}
MakePlan = Callable[..., Plan]
Specs = dict[Place, FitSpec]


@pytest.fixture(scope="session")
def planned(plan: MakePlan) -> Specs:
    """Two members and an ensemble of them, with two seeds."""
    fits = plan("naive", "drift", "ensemble", params=PARAMS, seeds=(1, 2)).fits
    return {place: fit.spec for fit in fits for place in Place.all_of(fit.spec)}


def spec_of(planned: Specs, fold: Fold, family: str = "ensemble", target: str = TARGET) -> FitSpec:
    return planned[Place(family, target, fold.name, 1)]


@pytest.fixture
def forecast(dataset: Dataset, store: ResultStore) -> Callable[..., None]:
    """Stores what a member is said to have forecast for rows: its `offset` + row / 1000, and a tenth more per level."""

    def write(spec: FitSpec, rows: np.ndarray, offset: float) -> None:
        values = {name: offset + rows / 1000 + at / 10 for at, name in enumerate(COLUMNS)}
        series = np.asarray(dataset.meta["series"])[dataset.series[rows]]
        date = pl.Series(dataset.date[rows]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
        # Not in the order of the dataset: a row is found by its name, not by its place.
        table = pl.DataFrame({"target": TARGET, "series_id": series, "date": date, **values}).reverse()
        store.write(spec.key, table, {"spec": spec.to_dict()})

    return write


def block(dataset: Dataset, fold: Fold) -> np.ndarray:
    """The rows of a fold's test block."""
    return np.flatnonzero((dataset.date >= fold.test_start) & (dataset.date < fold.test_end))


def read(spec: FitSpec, dataset: Dataset, store: ResultStore, patterns: Sequence[str] = ()) -> MemberTable:
    return MemberTable.read(spec, COLUMNS, patterns, dataset, store)


def test_an_ensemble_waits_for_its_members_on_its_fold_and_those_before(planned: Specs, folds: list[Fold]) -> None:
    for number, fold in enumerate(folds):
        expected = [
            planned[Place(name, TARGET, one.name, 2)].key for one in folds[: number + 1] for name in ("drift", "naive")
        ]
        assert members_of(("drift", "naive"), TARGET, fold, 2, folds=folds[::-1], planned=planned) == tuple(expected)


def test_on_the_newest_rows_it_learns_from_the_whole_walk_forward(planned: Specs, folds: list[Fold], frame) -> None:
    newest = latest(frame.table["date"], FoldsConfig())
    own = replace(spec_of(planned, folds[-1], "naive"), fold=newest)
    found = members_of(
        ("naive",), TARGET, newest, 1, folds=folds, planned={**planned, Place("naive", TARGET, "latest", 1): own}
    )
    walk = [planned[Place("naive", TARGET, fold.name, 1)].key for fold in folds]
    assert found == (*walk, own.key)


def test_a_fit_that_is_not_planned_is_named(planned: Specs, folds: list[Fold]) -> None:
    lacking = {place: spec for place, spec in planned.items() if place != Place("drift", TARGET, folds[0].name, 1)}
    with pytest.raises(ConfigError, match=rf"waits for drift on fold {folds[0].name} with seed 1, .* not planned"):
        members_of(("naive", "drift"), TARGET, folds[1], 1, folds=folds, planned=lacking)


@pytest.mark.parametrize(
    ("members", "task", "said"),
    [
        (("naive", "naive"), "regression", "ensemble may mix each family once, got naive twice"),
        (("nave",), "regression", "`nave` is not a family; did you mean `naive`"),
        (("meta_learning",), "regression", "got meta_learning, an ensemble; name its members"),
        (("drift",), "regression", "got drift, which is not fitted; add it to `families`"),
        (("lightgbm",), "regression", "the quantiles 0.1, 0.5, 0.9, got lightgbm, which gives the median only"),
        (("lightgbm_quantile",), "binary", "members with a binary form, got lightgbm_quantile"),
    ],
)
def test_members_that_cannot_be_mixed_are_refused(members: tuple[str, ...], task: Any, said: str) -> None:
    asked = ("naive", "lightgbm", "lightgbm_quantile", "meta_learning")
    with pytest.raises(ConfigError, match=said):
        require_members("ensemble", members, asked, task, (0.1, 0.5, 0.9))


def test_members_that_can_be_mixed_are_not() -> None:
    require_members("ensemble", ("naive", "lightgbm"), ("naive", "lightgbm"), "binary", (0.1, 0.5, 0.9))
    require_members("ensemble", ("naive", "lightgbm"), ("naive", "lightgbm"), "regression", (0.5,))


def test_forecasts_lie_on_the_rows_they_are_for(
    planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore, forecast: Callable[..., None]
) -> None:
    for offset, fold in enumerate(folds[:2]):
        for name, more in (("naive", 0.0), ("drift", 50.0)):
            forecast(spec_of(planned, fold, name), block(dataset, fold), 100.0 * offset + more)
    spec = spec_of(planned, folds[1])
    table = read(spec, dataset, store)
    assert table.forecasts.shape == (900, 2, 3)
    expected = np.full((900, 2, 3), np.nan)
    for offset, fold in enumerate(folds[:2]):
        rows = block(dataset, fold)
        expected[rows] = 100 * offset + rows[:, None, None] / 1000 + [[0], [50]] + np.array([0, 0.1, 0.2])
    np.testing.assert_allclose(table.forecasts, expected, rtol=1e-6)
    np.testing.assert_array_equal(table.test_rows(spec, dataset), block(dataset, folds[1]))
    samples = table.samples(np.array([700, 650]))
    np.testing.assert_array_equal(samples[:], table.forecasts[[700, 650]])


def test_weights_are_learned_from_labels_known_at_the_cut_off(
    planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore, forecast: Callable[..., None]
) -> None:
    for fold in folds:
        for name in ("naive", "drift"):
            forecast(spec_of(planned, fold, name), block(dataset, fold), 0.0)
    for number, fold in enumerate(folds):
        rows = read(spec := spec_of(planned, fold), dataset, store).train_rows(spec, dataset)
        before = np.concatenate([block(dataset, one) for one in folds[:number]]) if number else np.array([])
        known = [row for row in np.sort(before) if dataset.label_date(TARGET)[int(row)] <= fold.cutoff]
        assert rows.tolist() == known
        # Five rows are ahead of each: the last five of a block are learned from one fold later.
        assert len(before) - len(known) == (10 if number else 0)


def test_labels_that_are_all_equal_teach_nothing(
    planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore, forecast: Callable[..., None]
) -> None:
    for fold in folds[:2]:
        for name in ("naive", "drift"):
            forecast(spec_of(planned, fold, name), block(dataset, fold), 0.0)
    flat = Dataset(dataset.meta, dataset.arrays | {f"y-{TARGET}": np.where(dataset.series == 0, 0.0, 1.0)})
    spec = spec_of(planned, folds[1])
    table = read(spec, flat, store)
    assert len(table.train_rows(spec, flat)) > 0
    assert len(table.train_rows(spec, flat, flat.series == 0)) == 0


def test_a_row_counts_when_every_member_has_forecast_it(
    planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore, forecast: Callable[..., None]
) -> None:
    rows = block(dataset, folds[0])
    forecast(spec_of(planned, folds[0], "naive"), rows, 0.0)
    forecast(spec_of(planned, folds[0], "drift"), rows[20:], 0.0)
    spec = spec_of(planned, folds[0])
    table = read(spec, dataset, store)
    np.testing.assert_array_equal(table.test_rows(spec, dataset), rows[20:])
    second = dataset.series == 1
    np.testing.assert_array_equal(table.test_rows(spec, dataset, second), rows[20:][second[rows[20:]]])
    with pytest.raises(FitError, match="needs rows that all its members forecast, got none in its test block"):
        table.test_rows(spec, dataset, dataset.date < folds[0].test_start)


def test_the_newest_rows_are_those_of_the_newest_fits(
    planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore, forecast: Callable[..., None]
) -> None:
    """They lie in the open block of the walk-forward too, which an older model has forecast."""
    last = int(dataset.date.max())
    newest = Fold(name="latest", train_start=None, cutoff=last, test_start=last, test_end=last + 1)
    walk, own = (replace(spec_of(planned, folds[-1], "naive"), fold=fold) for fold in (folds[-1], newest))
    forecast(walk, block(dataset, folds[-1]), 0.0)
    forecast(own, block(dataset, newest), 500.0)
    spec = replace(spec_of(planned, folds[-1]), fold=newest, members=(own.key, walk.key))
    values = read(spec, dataset, store).forecasts[:, 0, 0]
    np.testing.assert_array_equal(np.flatnonzero(values > 400), block(dataset, newest))
    assert np.isfinite(values).sum() == len(block(dataset, folds[-1]))


def test_forecasts_of_other_rows_are_refused(
    planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore, forecast: Callable[..., None]
) -> None:
    for name in ("naive", "drift"):
        forecast(spec_of(planned, folds[0], name), block(dataset, folds[0]), 0.0)
    moved = Dataset(dataset.meta, dataset.arrays | {"date": dataset.date + DAY // 2})
    with pytest.raises(FitError, match=f"naive {TARGET} .* must have forecast rows of the data"):
        read(spec_of(planned, folds[0]), moved, store)


def test_regime_features_are_found_by_pattern(dataset: Dataset) -> None:
    names = dataset.meta["features"]
    assert columns_of(dataset, ()) == []
    assert [names[column] for column in columns_of(dataset, ("other*", "*_5"))] == [
        name for name in names if name.startswith("other") or name.endswith("_5")
    ]
    with pytest.raises(ConfigError, match="must match names of features, got oter_z_10; name others, or none"):
        columns_of(dataset, ("oter_z_10",))


def test_a_category_is_a_flag_and_one_from_the_future_is_none(
    planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore, forecast: Callable[..., None]
) -> None:
    for name in ("naive", "drift"):
        forecast(spec_of(planned, folds[0], name), block(dataset, folds[0]), 0.0)
    codes = np.where(dataset.date >= folds[0].test_end, 3, np.arange(900) % 3)
    x = np.column_stack([dataset.x[:, :2], codes]).astype(np.float32)
    names = [*dataset.meta["features"][:2], "regime"]
    meta = {**dataset.meta, "features": names, "categories": {"regime": ["calm", "wild", "new"]}}
    spec = spec_of(planned, folds[0])
    features = read(spec, Dataset(meta, dataset.arrays | {"x": x}), store, ("*_return_1", "regime")).features
    plain = [column for column in range(2) if names[column].endswith("_return_1")]
    expected = np.column_stack([x[:, plain], codes == 1, codes == 2])
    np.testing.assert_array_equal(features, expected.astype(np.float32))


@pytest.fixture
def fitted(planned: Specs, folds: list[Fold], dataset: Dataset, store: ResultStore) -> ResultStore:
    """The members' results on all folds, as a run leaves them."""
    for spec in planned.values():
        if spec.family != "ensemble" and spec.target == TARGET and spec.seed == 1:
            result = run_fit(spec, dataset, Control(), store)
            store.write(spec.key, result.predictions, result.facts(spec))
    return store


def test_the_first_fold_gets_the_equal_mean(
    planned: Specs, folds: list[Fold], dataset: Dataset, fitted: ResultStore
) -> None:
    found = run_fit(spec_of(planned, folds[0]), dataset, Control(), fitted).predictions
    naive, drift = (
        fitted.predictions(spec_of(planned, folds[0], name).key).select(COLUMNS).to_numpy()
        for name in ("naive", "drift")
    )
    np.testing.assert_allclose(found.select(COLUMNS).to_numpy(), (naive + drift) / 2, rtol=1e-5, atol=1e-9)


def test_a_later_fold_mixes_as_its_past_has_taught(
    planned: Specs, folds: list[Fold], dataset: Dataset, fitted: ResultStore
) -> None:
    spec = spec_of(planned, folds[2])
    found = run_fit(spec, dataset, Control(), fitted).predictions.select(COLUMNS).to_numpy()
    past = [block(dataset, fold) for fold in folds[:2]]
    values = {
        name: [fitted.predictions(spec_of(planned, fold, name).key) for fold in folds] for name in ("naive", "drift")
    }
    x = np.stack(
        [np.concatenate([one.select(COLUMNS).to_numpy() for one in tables[:2]]) for tables in values.values()], axis=1
    )
    rows = np.concatenate(past)
    known = dataset.label_date(TARGET)[rows] <= folds[2].cutoff
    order = np.argsort(rows[known])
    rows, x = rows[known][order], x[known][order]
    data = FitData(
        x=x,
        y=dataset.y(TARGET)[rows][:, None],
        weight=np.ones(len(rows), dtype=np.float32),
        date=dataset.date[rows],
        label_date=dataset.label_date(TARGET)[rows],
        series=dataset.series[rows],
    )
    model = Ensemble(EnsembleParams(weights="learned")).fit(data, FitContext(quantiles=(0.1, 0.5, 0.9)))
    own = np.stack([tables[2].select(COLUMNS).to_numpy() for tables in values.values()], axis=1)
    np.testing.assert_array_equal(found, model.predict(own)[:, 0])


def test_nothing_after_the_cut_off_changes_an_ensemble(
    planned: Specs, folds: list[Fold], dataset: Dataset, fitted: ResultStore
) -> None:
    spec = spec_of(planned, folds[1])
    before = run_fit(spec, dataset, Control(), fitted).predictions
    later = dataset.label_date(TARGET) > spec.fold.cutoff
    poisoned = Dataset(
        dataset.meta, dataset.arrays | {f"y-{TARGET}": np.where(later, np.float32(9), dataset.y(TARGET))}
    )
    assert run_fit(spec, poisoned, Control(), fitted).predictions.equals(before)
    earlier = Dataset(
        dataset.meta,
        dataset.arrays | {f"y-{TARGET}": np.where(later, dataset.y(TARGET), np.float32(9) * dataset.y(TARGET))},
    )
    assert not run_fit(spec, earlier, Control(), fitted).predictions.equals(before)


def test_the_members_are_part_of_the_key(planned: Specs, folds: list[Fold]) -> None:
    spec = spec_of(planned, folds[1])
    assert len(spec.members) == 4
    assert replace(spec, members=(*spec.members[:-1], "other")).key != spec.key
