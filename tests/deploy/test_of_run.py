"""A run's bundles, and what becomes of those that cannot be written."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.deploy.bundle import Bundle
from raytrain.deploy.of_run import Bundled, bundle_forecasts, scores_beside_naive
from raytrain.work.models import POOLED, ModelStore
from raytrain.work.store import ResultStore

SCORES = pl.DataFrame(
    {
        "family": ["naive", "har", "har"],
        "target": ["return_1w", "return_1w", "return_1d"],
        "skill": [0.0, 0.02, 0.9],
    }
)


@pytest.fixture
def bundles(world: Any, tmp_path: Path) -> Any:
    """Bundles har on two targets, in a copy of the store; models of the targets named are gone."""
    specs = [world.fitted("har", target) for target in ("return_1w", "return_1d")]
    store = ResultStore(shutil.copytree(world.store.root, tmp_path / "store"))
    opened = Bundle.read(world.made("har"))

    def make(*gone: str) -> Bundled:
        for spec in specs:
            if spec.target in gone:
                shutil.rmtree(ModelStore(store.root).folder(spec.train_key, POOLED))
        return bundle_forecasts(
            specs,
            {"return_1w": "har", "return_1d": "har", "threshold_1w": "naive"},
            store=store,
            dataset=world.dataset,
            data=opened.data,
            features=opened.features,
            decisions=(),
            scores=SCORES,
            data_hash="abc",
        )

    make.store = store  # type: ignore[attr-defined]
    return make


def test_each_target_has_its_bundle(bundles: Any, tmp_path: Path) -> None:
    done = bundles()
    assert done.warnings == ()
    done.write(tmp_path)
    written = json.loads((tmp_path / "bundles.json").read_text())
    assert set(written) == {"return_1w", "return_1d"}  # nobody has fitted the third
    for target, about in written.items():
        bundle = Bundle.open(bundles.store.root / about["bundle"])
        assert bundle.spec.target == target
        assert (about["digest"], about["key"]) == (bundle.digest, bundle.spec.key)
        assert (about["family"], about["verdict"], about["onnx"]) == ("har", None, False)
    assert "| 0.02 | 0 |" in (bundles.store.root / written["return_1w"]["bundle"] / "card.md").read_text()


def test_the_same_run_again_writes_nothing(bundles: Any) -> None:
    first = bundles()
    inodes = {path: path.stat().st_ino for path in (bundles.store.root / "bundles").rglob("*")}
    assert bundles() == first
    assert {path: path.stat().st_ino for path in (bundles.store.root / "bundles").rglob("*")} == inodes


def test_what_cannot_be_bundled_is_a_warning(bundles: Any) -> None:
    done = bundles("return_1d")
    assert set(done.by_target) == {"return_1w"}
    (warning,) = done.warnings
    assert warning.startswith("no bundle for return_1d: the model of har return_1d latest s42")


def test_scores_stand_beside_naive() -> None:
    assert scores_beside_naive(SCORES, "return_1w", "har")["har"]["skill"] == 0.02
    assert set(scores_beside_naive(SCORES, "return_1w", "har")) == {"har", "naive"}
    assert set(scores_beside_naive(SCORES, "return_1d", "har")) == {"har"}
    assert scores_beside_naive(pl.DataFrame(), "return_1w", "har") == {}
