"""Batch sizes are remembered for the machine, the net and the libraries that they were found with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.errors import StoreCorrupt
from raytrain.machine.profile import MachineProfile
from raytrain.machine.world import World
from raytrain.work.batch_memory import memory_file, remember, with_remembered
from raytrain.work.batch_search import BatchSearch, BatchSearchConfig, Measured
from raytrain.work.plan import Plan, PlannedFit, Recipes

HERE = MachineProfile(name="here", pcores=2, memory_gb=8, slot="cpu")
NUM_FEATURES = 3

MakePlan = Callable[..., Plan]


def recipes(*names: str, **params: dict[str, Any]) -> Recipes:
    return Recipes.make(names, params, targets=(), quantiles=(0.5,), seeds=(42,), slot_device="cpu")


def found(batch_size: int) -> BatchSearch:
    one = Measured(
        batch_size=batch_size, status="ok", samples_per_s=9.0, step_s=1.0, peak_memory_bytes=1, memory_bytes=10
    )
    return BatchSearch(BatchSearchConfig(), 64, 32, [one])


def fit_of(plan: MakePlan, name: str, **params: Any) -> PlannedFit:
    return next(iter(plan(name, params={name: params}).fits))


def batch(store: Path, what: Recipes, profile: MachineProfile = HERE, num_features: int = NUM_FEATURES) -> int:
    """What the one recipe takes."""
    (recipe,) = with_remembered(what, store, profile, num_features)[0].recipes
    return int(recipe.params.model_dump()["batch_size"])


@pytest.fixture
def features(plan: MakePlan) -> int:
    """Columns of the dataset that is planned on."""
    return fit_of(plan, "gru").shape.features


@pytest.fixture
def memory(tmp_path: Path, plan: MakePlan) -> Path:
    """A store that remembers batches of 64 for the GRU, and of 16 for PatchTST of 20 million."""
    path = memory_file(tmp_path, HERE)
    remember(path, fit_of(plan, "gru"), found(64))
    remember(path, fit_of(plan, "patchtst", size="20m"), found(16))
    return tmp_path


def test_a_net_whose_batch_is_not_given_takes_what_was_found(memory: Path, features: int) -> None:
    changed, told = with_remembered(recipes("gru", "naive"), memory, HERE, features)
    gru, naive = changed.recipes
    assert gru.params.model_dump()["batch_size"] == 64
    assert naive == recipes("naive").recipes[0]
    assert len(told) == 1 and told[0].startswith("gru takes batches of 64, found on this machine on 20")


def test_a_batch_that_is_given_stays(memory: Path, features: int) -> None:
    what = recipes("gru", gru={"batch_size": 24})
    assert with_remembered(what, memory, HERE, features) == (what, [])


def test_the_sizes_of_a_net_are_apart(memory: Path, features: int) -> None:
    usual = batch(memory, recipes("patchtst"), num_features=features)
    assert usual == 32
    assert batch(memory, recipes("patchtst", patchtst={"size": "20m"}), num_features=features) == 16


def test_a_sized_net_keeps_what_follows_from_its_size(memory: Path, features: int) -> None:
    (recipe,) = with_remembered(recipes("patchtst", patchtst={"size": "20m"}), memory, HERE, features)[0].recipes
    assert recipe.params.model_dump()["max_steps"] == 60


def test_what_does_not_change_a_step_does_not_matter(memory: Path, features: int) -> None:
    what = recipes("gru", gru={"learning_rate": 0.01, "num_epochs": 3, "dropout": 0.4})
    assert batch(memory, what, num_features=features) == 64


@pytest.mark.parametrize("params", [{"num_hidden": 33}, {"window": 31}, {"num_layers": 2}])
def test_another_net_needs_a_search_of_its_own(memory: Path, features: int, params: dict[str, int]) -> None:
    assert batch(memory, recipes("gru", gru=params), num_features=features) == 256


def test_another_table_machine_or_device_needs_one_too(memory: Path, features: int) -> None:
    assert batch(memory, recipes("gru"), num_features=features + 1) == 256
    assert batch(memory, recipes("gru"), HERE.model_copy(update={"memory_gb": 16.0}), features) == 256
    on_cuda = Recipes.make(("gru",), {}, targets=(), quantiles=(0.5,), seeds=(42,), slot_device="cuda")
    assert batch(memory, on_cuda, num_features=features) == 256


def test_another_release_of_the_library_forgets(memory: Path, features: int) -> None:
    path = memory_file(memory, HERE)
    entries = json.loads(path.read_text())
    for entry in entries.values():
        entry["packages"]["torch"] = "1.0"
    path.write_text(json.dumps(entries))
    assert batch(memory, recipes("gru"), num_features=features) == 256


def test_a_later_search_takes_the_place_of_an_earlier_one(memory: Path, plan: MakePlan, features: int) -> None:
    remember(memory_file(memory, HERE), fit_of(plan, "gru"), found(128))
    assert batch(memory, recipes("gru"), num_features=features) == 128
    assert batch(memory, recipes("patchtst", patchtst={"size": "20m"}), num_features=features) == 16


def test_a_batch_found_while_another_was_remembered_is_found_again(memory: Path, plan: MakePlan, features: int) -> None:
    remember(memory_file(memory, HERE), fit_of(plan, "gru", batch_size=64, max_steps=9), found(32))
    assert batch(memory, recipes("gru"), num_features=features) == 32


def test_without_a_search_nothing_changes_and_nothing_is_asked_of_the_machine(tmp_path: Path, features: int) -> None:
    what = recipes("gru")
    assert with_remembered(what, tmp_path, HERE, features) == (what, [])


@pytest.mark.parametrize("content", ["{torn", "[1]"])
def test_a_torn_file_is_named(memory: Path, features: int, content: str) -> None:
    memory_file(memory, HERE).write_text(content)
    with pytest.raises(StoreCorrupt, match="must hold batch sizes as JSON"):
        with_remembered(recipes("gru"), memory, HERE, features)


def test_the_file_is_named_by_profile_and_chip(tmp_path: Path) -> None:
    def world(chip: str) -> World:
        return World(system="Linux", read={"/proc/cpuinfo": f"model name\t: {chip}\n"}.get, which=lambda name: None)

    one, same, other = (memory_file(tmp_path, HERE, world(chip)) for chip in ("a", "a", "b"))
    assert one == same != other
    assert one.parent == tmp_path / "batch_sizes"
    assert one.name.startswith("here-")
