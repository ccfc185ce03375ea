"""What an accelerator computed is computed again; a device with a wrong kernel is found out."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from math import inf
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import DATE, make_frame
from raytrain.errors import FitError
from raytrain.evaluation.gates.parity import Parity, parity_of, rescore, to_rescore
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, walk_forward
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.models import ModelStore
from raytrain.work.plan import Recipes, make_plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

TARGETS = (TargetConfig(horizon=5, label="1w"),)
PLACE = ("return_1w", "ridge")


@pytest.fixture(scope="module")
def frame() -> Frame:
    rng = np.random.default_rng(0)
    days = [datetime(2019, 1, 1) + timedelta(days=i) for i in range(500)]
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 500)))
    table = pl.DataFrame({"series_id": "A", "date": days, "close": close, "other": rng.normal(size=500)})
    return make_frame(table, DataConfig(), "the test", "test")


@pytest.fixture(scope="module")
def dataset(frame: Frame) -> Dataset:
    features = FeaturesConfig.model_validate({"steps": [{"step": "log_return", "rows": [1, 5]}]})
    return Dataset.build(frame, build(frame, features), TARGETS)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


@pytest.fixture
def specs(frame: Frame, dataset: Dataset) -> list[FitSpec]:
    """Two quarters, the newest one still open, as an accelerator would have computed them."""
    folds = walk_forward(frame.table[DATE], FoldsConfig(test_span="1q", num_folds=2, min_train_rows=50))
    what = Recipes.make(["ridge"], {}, targets=TARGETS, quantiles=(0.1, 0.5, 0.9), seeds=(42,), slot_device="cpu")
    return [replace(fit.spec, device="mps") for fit in make_plan(dataset, folds, what).fits]


Computed = Callable[..., list[FitSpec]]


@pytest.fixture
def computed(specs: list[FitSpec], dataset: Dataset, store: ResultStore) -> Computed:
    """Run the fits; `kernel` spoils what the device gives back."""

    def run(kernel: Callable[[pl.Expr], pl.Expr] = lambda value: value) -> list[FitSpec]:
        for spec in specs:
            result = run_fit(spec, dataset, Control(), store)
            spoiled = result.predictions.with_columns(kernel(pl.col("q0.1", "q0.5", "q0.9")))
            store.write(spec.key, spoiled, result.facts(spec))
        return specs

    return run


def found_by(specs: list[FitSpec], dataset: Dataset, store: ResultStore) -> dict[tuple[str, str], Parity]:
    again = {spec.key: rescore(spec, dataset, store) for spec in to_rescore(specs, dataset, store)}
    return parity_of(specs, store, again)


def test_a_sound_device_gives_the_same_numbers(computed: Computed, dataset: Dataset, store: ResultStore) -> None:
    specs = computed()
    assert [spec.fold.name for spec in to_rescore(specs, dataset, store)] == ["2020-04-01"]
    num_rows = len(store.predictions(specs[-1].key))
    assert found_by(specs, dataset, store) == {PLACE: Parity(device="mps", num_rows=num_rows, difference=0.0)}


def test_a_wrong_kernel_is_found(computed: Computed, dataset: Dataset, store: ResultStore) -> None:
    worst = found_by(computed(lambda value: value * 1.5), dataset, store)[PLACE]
    assert 0.1 < worst.difference < inf


def test_a_device_that_gives_nothing_finite_back_is_infinitely_wrong(
    computed: Computed, dataset: Dataset, store: ResultStore
) -> None:
    specs = computed()
    newest = specs[-1]
    again = rescore(newest, dataset, store)
    for spoiled in (again.with_columns(pl.lit(float("nan")).alias("q0.5")), again.head(3)):
        assert parity_of(specs, store, {newest.key: spoiled})[PLACE].difference == inf


def test_what_was_not_checked_has_no_entry(computed: Computed, dataset: Dataset, store: ResultStore) -> None:
    specs = computed()
    assert parity_of(specs, store, {}) == {}
    half_on_cpu = [replace(specs[0], device="cpu"), specs[1]]
    assert parity_of(half_on_cpu, store, {}) == {}


def test_what_the_cpu_computed_needs_no_check(specs: list[FitSpec], dataset: Dataset, store: ResultStore) -> None:
    on_cpu = [replace(spec, device="cpu") for spec in specs]
    assert to_rescore(on_cpu, dataset, store) == []
    assert parity_of(on_cpu, store, {}) == {PLACE: Parity(device="cpu")}


def test_nothing_is_trained_to_be_checked(specs: list[FitSpec], dataset: Dataset, store: ResultStore) -> None:
    newest = specs[-1]
    assert to_rescore(specs, dataset, store) == []
    with pytest.raises(FitError, match="must be kept to be checked, got none"):
        rescore(newest, dataset, store)
    assert not ModelStore(store.root).has(newest.train_key)
