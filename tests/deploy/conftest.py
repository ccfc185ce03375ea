"""A small run without Ray: two series, a category, and the fits on all known rows that a forecast needs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from raytrain import families
from raytrain.data import DataConfig
from raytrain.data.frame import DATE, make_frame
from raytrain.deploy.bundle import write_bundle
from raytrain.deploy.contents import CHECKSUMS, checksums
from raytrain.engines.process import engine_env
from raytrain.features.build import FeaturesConfig, build
from raytrain.features.market import known_ahead
from raytrain.features.targets import TargetConfig
from raytrain.folds import FoldsConfig, latest, walk_forward
from raytrain.work.dataset import Dataset
from raytrain.work.plan import Recipes, make_plan
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

TARGETS = (
    TargetConfig(horizon=1, label="1d"),
    TargetConfig(horizon=5, label="1w"),
    TargetConfig(kind="threshold", horizon=5, label="1w", threshold=0.02),
)
DATA = DataConfig(kind="parquet", high="high", low="low")
FEATURES = FeaturesConfig.model_validate(
    {
        "steps": [
            {"step": "log_return", "rows": [1, 5]},
            {"step": "volatility", "rows": [10]},
            {"step": "zscore", "columns": ["other"], "rows": [10]},
            {"step": "rsi"},
            {"step": "calendar"},
        ],
        "categorical": ["regime"],
    }
)
FOLDS = FoldsConfig(test_span="1q", num_folds=2, min_train_rows=50)
# As small as they come: what is tested is that nothing changes, not that it is good.
SMALL: dict[str, dict[str, Any]] = {
    "lightgbm": {"num_rounds": 15, "min_data_in_leaf": 20},
    "lightgbm_quantile": {"num_rounds": 15, "min_data_in_leaf": 20},
    "xgboost": {"num_rounds": 15, "max_depth": 3},
    "xgboost_quantile": {"num_rounds": 15, "max_depth": 3},
    "ngboost": {"num_rounds": 5},
    "gru": {"num_epochs": 2, "window": 10, "num_hidden": 8},
    "mlp": {"num_epochs": 2},
    "ensemble": {"members": ["har", "lightgbm_quantile"], "binary_members": ["lightgbm", "naive"]},
}


def _series(name: str, rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, rows)))
    days = [datetime(2019, 1, 1) + timedelta(days=500 - rows + place) for place in range(rows)]
    spread = np.abs(rng.normal(0, 0.01, (2, rows)))
    other = rng.normal(size=rows)
    other[rng.random(rows) < 0.05] = np.nan
    return pl.DataFrame(
        {
            "series_id": name,
            "date": days,
            "close": close,
            "high": close * (1 + spread[0]),
            "low": close * (1 - spread[1]),
            "other": other,
            "regime": rng.choice(["calm", "wild", "odd"], rows),
        }
    )


@dataclass(frozen=True)
class World:
    """A run without Ray."""

    table: pl.DataFrame
    store: ResultStore
    dataset: Dataset
    dataset_folder: Path

    def _plan(self, names: Sequence[str], seed: int, params: Any) -> list[FitSpec]:
        made = Recipes.make(
            names,
            {name: values for name, values in (SMALL | params).items() if name in names},
            targets=TARGETS,
            quantiles=(0.1, 0.5, 0.9),
            seeds=(seed,),
            slot_device="cpu",
        )
        frame = make_frame(self.table, DATA, "the test", "test")
        walk = make_plan(self.dataset, walk_forward(frame.table[DATE], FOLDS), made)
        last = make_plan(self.dataset, [latest(frame.table[DATE], FOLDS)], made, earlier=walk)
        return [fit.spec for plan in (walk, last) for fit in plan.fits]

    def fitted(
        self, name: str, target: str = "return_1w", *, among: Sequence[str] = (), seed: int = 42, **params: Any
    ) -> FitSpec:
        """The finished fit of a family on all rows, once it and what it mixes are fitted; `among` is fitted beside."""
        plan = self._plan((*among, name), seed, params)
        spec = next(
            one for one in plan if one.family == name and target in one.target_names and one.fold.name == "latest"
        )
        by_key = {one.key: one for one in plan}
        wanted = [*(by_key[key] for key in spec.members), spec]
        self._fit([one for one in wanted if not self.store.has(one.key)])
        return spec

    def _fit(self, specs: Sequence[FitSpec]) -> None:
        for engine, group in groupby(specs, key=lambda one: families.get(one.family).engine):
            script = Path(__file__).with_name("fit_in_process.py")
            subprocess.run(
                [sys.executable, str(script), str(self.store.root), str(self.dataset_folder)],
                env=os.environ | engine_env(engine, 1, "cpu"),
                input=json.dumps([one.to_dict() for one in group]),
                text=True,
                check=True,
            )

    def bundle(self, folder: Path, spec: FitSpec, **more: Any) -> Path:
        """Its bundle."""
        common = {"store": self.store, "dataset": self.dataset, "data": DATA, "features": FEATURES}
        return write_bundle(folder, spec=spec, **common | {"onnx": False} | more)

    def made(self, name: str, target: str = "return_1w", *, onnx: bool = False, **how: Any) -> Path:
        """The bundle of a family, written once; not to be changed."""
        spec = self.fitted(name, target, **how)
        return self.bundle(self.store.root / "bundles" / f"{spec.key}{onnx}", spec, onnx=onnx)

    def stored(self, spec: FitSpec) -> pl.DataFrame:
        """What the run has forecast."""
        return self.store.predictions(spec.key)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A has 500 days, B 400; both end on the same day."""
    table = pl.concat([_series("A", 500, 1), _series("B", 400, 2)])
    store = ResultStore(tmp_path_factory.mktemp("world") / "store")
    frame = make_frame(table, DATA, "the test", "test")
    features = build(frame, FEATURES)
    ahead = known_ahead(frame, FEATURES, features, max(target.horizon for target in TARGETS))
    dataset = Dataset.build(frame, features, TARGETS, ahead=ahead)
    return World(table, store, dataset, dataset.save(store.root / "prepared"))


@pytest.fixture
def copied(world: World, tmp_path: Path) -> Callable[..., Path]:
    """Copies the bundle of a family, to be changed."""

    def copy(name: str = "har", *args: Any, **how: Any) -> Path:
        return shutil.copytree(world.made(name, *args, **how), tmp_path / "bundle")

    return copy


@pytest.fixture
def resealed() -> Callable[[Path], None]:
    """Writes the checksums of a changed bundle anew, as an attacker or a careless editor would."""
    return lambda folder: (folder / CHECKSUMS).write_text(checksums(folder)) and None
