"""Bundles are written whole, from what a run has kept, and forecast what it has forecast."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.deploy.bundle import Bundle, ModelNotKept, bundle_key
from raytrain.deploy.contents import CHECKSUMS
from raytrain.errors import StoreCorrupt
from raytrain.evaluation.gates.decision import Decision, Rule
from raytrain.work.models import POOLED, ModelStore
from raytrain.work.store import ResultStore

DECISION = Decision(
    family="har",
    target="return_1w",
    label="1w",
    horizon=5,
    verdict="HOLD",
    rules=(Rule(name="mape", passed=False, value=0.05, threshold=0.03, text="MAPE 5 % is above 3 %"),),
    reason="its MAPE is too high",
    first_date="2020-01-01",
    last_date="2020-05-14",
)
SCORES = {"har": {"n": 200, "skill": 0.031}, "naive": {"n": 200, "skill": 0.0}}


@pytest.fixture
def own_store(world: Any, tmp_path: Path) -> Any:
    """The world with a copy of its store, to be damaged."""
    world.fitted("har")
    return replace(world, store=ResultStore(shutil.copytree(world.store.root, tmp_path / "store")))


def test_the_decision_and_the_scores_travel_along(world: Any, tmp_path: Path) -> None:
    spec = world.fitted("har")
    bundle = Bundle.open(world.bundle(tmp_path / "b", spec, decision=DECISION, scores=SCORES, data_hash="abc"))
    assert bundle.decision is not None
    assert (bundle.decision["verdict"], bundle.decision["rules"][0]["value"]) == ("HOLD", 0.05)
    assert bundle.about["data_hash"] == "abc"
    text = (bundle.folder / "card.md").read_text()
    assert "**HOLD** (2020-01-01 to 2020-05-14): its MAPE is too high" in text
    assert "| skill against naive (higher is better) | 0.031 | 0 |" in text
    assert "| `close` | number: price | no | no |" in text


def test_a_bundle_that_is_there_is_left_as_it_is(world: Any, tmp_path: Path) -> None:
    spec = world.fitted("har")
    first = (world.bundle(tmp_path / "b", spec) / CHECKSUMS).stat()
    assert (world.bundle(tmp_path / "b", spec) / CHECKSUMS).stat().st_ino == first.st_ino


def test_one_that_is_damaged_is_put_aside_and_written_again(world: Any, tmp_path: Path) -> None:
    spec = world.fitted("har")
    folder = world.bundle(tmp_path / "b", spec)
    (folder / "card.md").write_text("")
    assert Bundle.open(world.bundle(folder, spec)).spec == spec
    (aside,) = tmp_path.glob(".b.refused.*")
    assert (aside / "card.md").read_text() == ""


def test_without_the_kept_model_there_is_none(own_store: Any, tmp_path: Path) -> None:
    spec = own_store.fitted("har")
    shutil.rmtree(ModelStore(own_store.store.root).folder(spec.train_key, POOLED))
    with pytest.raises(ModelNotKept, match=r"move .* away and run again"):
        own_store.bundle(tmp_path / "b", spec)
    assert list(tmp_path.glob("*b*")) == []


def test_a_model_that_forecasts_something_else_is_not_bundled(own_store: Any, tmp_path: Path) -> None:
    """Half a unit in the last place is enough."""
    spec = own_store.fitted("har")
    path = own_store.store.folder(spec.key) / "predictions.parquet"
    changed = pl.read_parquet(path).with_columns(pl.col("q0.5") + pl.lit(1e-9, pl.Float32))
    assert changed["q0.5"].to_list() != pl.read_parquet(path)["q0.5"].to_list()
    changed.write_parquet(path)
    with pytest.raises(StoreCorrupt, match="must forecast what is stored"):
        own_store.bundle(tmp_path / "b", spec)
    assert not (tmp_path / "b").exists()


def test_weights_that_forecast_something_else_are_not_bundled(world: Any, tmp_path: Path) -> None:
    mixing = {"among": ["har", "drift"], "ensemble": {"members": ["har", "drift"]}}
    spec = world.fitted("ensemble", **mixing)
    own = replace(world, store=ResultStore(shutil.copytree(world.store.root, tmp_path / "store")))
    path = own.store.folder(spec.key) / "predictions.parquet"
    pl.read_parquet(path).with_columns(pl.col("q0.9") * 2).write_parquet(path)
    with pytest.raises(StoreCorrupt, match="the weights of ensemble"):
        own.bundle(tmp_path / "b", spec)


def test_the_key_follows_what_was_said(world: Any) -> None:
    spec, other = world.fitted("har"), world.fitted("drift")
    bundle = Bundle.open(world.made("har"))
    common = (bundle.data, bundle.features)
    keys = [
        bundle_key(spec, *common),
        bundle_key(other, *common),
        bundle_key(spec, *common, decision=DECISION),
        bundle_key(spec, *common, decision=replace(DECISION, verdict="PROMOTE")),
        bundle_key(spec, *common, scores=SCORES),
        bundle_key(spec, *common, seeds=[other]),
        bundle_key(spec, bundle.data.model_copy(update={"price": "open"}), bundle.features),
    ]
    assert len(set(keys)) == len(keys)
    assert bundle_key(spec, *common) == keys[0]
    elsewhere = bundle.data.model_copy(update={"path": "/another/place.parquet"})
    assert bundle_key(spec, elsewhere, bundle.features) == keys[0]


def test_an_ensemble_holds_its_members_whole(world: Any) -> None:
    mixing = {"among": ["har", "drift"], "ensemble": {"members": ["har", "drift"]}}
    bundle = Bundle.open(world.made("ensemble", **mixing))
    assert [member.spec.family for member in bundle.members] == ["har", "drift"]
    assert [Bundle.open(member.folder).form for member in bundle.members] == ["fit", "fit"]
    assert bundle.schema.warm_up_rows == max(member.schema.warm_up_rows for member in bundle.members)
    state = json.loads((bundle.folder / "model" / "params.json").read_text())["state"]
    assert set(state) == {"weights"}
