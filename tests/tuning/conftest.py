"""A prepared run of two short series, without the pipeline."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain.cluster.config import ClusterConfig
from raytrain.data import DataConfig
from raytrain.data.frame import DATE, make_frame
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, walk_forward
from raytrain.machine.profile import MachineProfile
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Recipes

TARGETS = (
    TargetConfig(horizon=1, label="1d"),
    TargetConfig(horizon=5, label="1w"),
    TargetConfig(kind="threshold", horizon=5, label="1w", threshold=0.02),
)
FEATURES = FeaturesConfig.model_validate({"steps": [{"step": "log_return", "rows": [1, 5]}]})


def _series(name: str, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 700)))
    days = [datetime(2018, 1, 1) + timedelta(days=i) for i in range(700)]
    return pl.DataFrame({"series_id": name, "date": days, "close": close})


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Two series of 700 days from 2018-01-01."""
    frame = make_frame(pl.concat([_series("A", 1), _series("B", 2)]), DataConfig(), "the test", "test")
    return Dataset.build(frame, build(frame, FEATURES), TARGETS)


MakeRun = Callable[..., Any]


@pytest.fixture(scope="session")
def make_run(dataset: Dataset) -> MakeRun:
    """What `raytrain.pipeline.prepare` gives, as far as a search needs it; six quarters are tested."""

    def make(store: Path, *families: str, params: dict[str, Any] | None = None, num_folds: int = 6) -> Any:
        dates = pl.Series(dataset.date).cast(pl.Datetime("ns")).cast(pl.Datetime("us")).alias(DATE)
        recipes = Recipes.make(
            families or ("naive",),
            params or {},
            targets=TARGETS,
            quantiles=(0.1, 0.5, 0.9),
            seeds=(42, 43),
            slot_device="cpu",
        )
        return SimpleNamespace(
            config=SimpleNamespace(store=store, params=params or {}, cluster=ClusterConfig(dashboard=False)),
            profile=MachineProfile(name="test", pcores=2, memory_gb=6, slot="cpu"),
            dataset=dataset,
            folds=walk_forward(dates, FoldsConfig(test_span="1q", num_folds=num_folds, min_train_rows=50)),
            recipes=recipes,
        )

    return make
