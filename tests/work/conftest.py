"""A small dataset of two unequal series, and fits of it that need no engine."""

import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.data import DataConfig, Frame
from raytrain.data.frame import DATE, make_frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold, FoldsConfig, walk_forward
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Plan, Recipes, make_plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

TARGETS = (
    TargetConfig(horizon=1, label="1d"),
    TargetConfig(horizon=5, label="1w"),
    TargetConfig(kind="threshold", horizon=5, label="1w", threshold=0.02),
)
FEATURES = FeaturesConfig.model_validate(
    {"steps": [{"step": "log_return", "rows": [1, 5]}, {"step": "zscore", "columns": ["other"], "rows": [10]}]}
)
FOLDS = FoldsConfig(test_span="1q", num_folds=3, min_train_rows=50)


def _series(name: str, rows: int, seed: int, first: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
    days = [datetime(2019, 1, 1) + timedelta(days=first + i) for i in range(rows)]
    return pl.DataFrame({"series_id": name, "date": days, "close": close, "other": rng.normal(size=rows)})


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """A has 500 days from 2019-01-01, B 400 days from 2019-04-11; both end on 2020-05-14."""
    return pl.concat([_series("A", 500, 1, 0), _series("B", 400, 2, 100)])


@pytest.fixture(scope="session")
def as_frame() -> Callable[[pl.DataFrame], Frame]:
    """A checked frame from a raw table."""
    return lambda table: make_frame(table, DataConfig(), "the test", "test")


@pytest.fixture(scope="session")
def frame(table: pl.DataFrame, as_frame: Callable[[pl.DataFrame], Frame]) -> Frame:
    """The table, checked."""
    return as_frame(table)


@pytest.fixture(scope="session")
def as_dataset() -> Callable[[Frame], Dataset]:
    """Features and labels of a frame."""
    return lambda frame: Dataset.build(frame, build(frame, FEATURES), TARGETS)


@pytest.fixture(scope="session")
def dataset(frame: Frame, as_dataset: Callable[[Frame], Dataset]) -> Dataset:
    """Features and labels of the panel; its look-back is 9 rows."""
    return as_dataset(frame)


@pytest.fixture(scope="session")
def folds(frame: Frame) -> list[Fold]:
    """The last quarters: 2019-10-01, 2020-01-01 and the open one of 2020-04-01."""
    return walk_forward(frame.table[DATE], FOLDS)


MakePlan = Callable[..., Plan]


@pytest.fixture(scope="session")
def plan(dataset: Dataset, folds: list[Fold]) -> MakePlan:
    """Plan some families on the dataset."""

    def make(
        *names: str,
        params: dict[str, Any] | None = None,
        seeds: Sequence[int] = (42,),
        only: Dataset | None = None,
        **rest: Any,
    ) -> Plan:
        recipes = Recipes.make(
            names or ("naive",),
            params or {},
            targets=TARGETS,
            quantiles=(0.1, 0.5, 0.9),
            seeds=tuple(seeds),
            **{"slot_device": "cpu"} | rest,
        )
        return make_plan(only or dataset, folds, recipes)

    return make


@pytest.fixture(scope="session")
def specs(plan: MakePlan) -> dict[tuple[str, str], FitSpec]:
    """(target, fold) -> the naive fit."""
    return {(fit.spec.target, fit.spec.fold.name): fit.spec for fit in plan("naive").fits}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    """An empty store."""
    return ResultStore(tmp_path / "store")


@pytest.fixture(scope="session")
def age() -> Callable[[Path], None]:
    """Make a folder look as if nobody had used it for eight days."""

    def made_old(folder: Path) -> None:
        long_ago = time.time() - 8 * 86_400
        os.utime(folder, (long_ago, long_ago))

    return made_old
