"""What tests of jobs share."""

from pathlib import Path

import polars as pl
import pytest

from raytrain.data import DataConfig
from raytrain.data.frame import DATE, make_frame
from raytrain.deploy.bundle import write_bundle
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, latest
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.plan import Recipes, make_plan
from raytrain.work.store import ResultStore


@pytest.fixture
def bundle(tmp_path: Path, table: Path) -> Path:
    """`bundles/b1` of a store: of a family that needs no engine, without Ray."""
    data, features = DataConfig(kind="parquet"), FeaturesConfig()
    frame = make_frame(pl.read_parquet(table), data, "the test", "test")
    targets = (TargetConfig(horizon=5, label="1w"),)
    dataset = Dataset.build(frame, build(frame, features), targets)
    made = Recipes.make(["naive"], {}, targets=targets, quantiles=(0.1, 0.5, 0.9), seeds=(42,), slot_device="cpu")
    (fit,) = make_plan(dataset, [latest(frame.table[DATE], FoldsConfig())], made).fits
    store = ResultStore(tmp_path / "store")
    result = run_fit(fit.spec, dataset, Control(), store)
    store.write(fit.spec.key, result.predictions, result.facts(fit.spec))
    common = {"store": store, "dataset": dataset, "data": data, "features": features}
    return write_bundle(store.root / "bundles" / "b1", spec=fit.spec, onnx=False, **common)
