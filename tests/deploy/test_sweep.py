"""Which bundles stay, and what a sweep that is killed leaves behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import pytest

from raytrain.deploy.sweep import sweep_bundles
from raytrain.errors import StoreCorrupt
from raytrain.evaluation.champions.journal import Action, Version, writing
from raytrain.evaluation.champions.promotions import promote_to, rolling_back
from raytrain.work.store import ResultStore

FILES = ("bundle.json", "model/weights", "SHA256SUMS")


class Desk:
    """A store whose runs have bundles."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._num_runs = 0

    def bundle(self, name: str) -> Path:
        folder = self.store / self.path(name)
        for file in FILES:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(name)
        return folder

    def path(self, name: str) -> str:
        return f"bundles/{md5(name.encode()).hexdigest()}"

    def run(self, **by_target: str) -> None:
        """A run that has a bundle for each target."""
        folder = self.store / "runs" / f"2026112{self._num_runs}T070000Z-0000"
        self._num_runs += 1
        folder.mkdir(parents=True)
        told = {}
        for target, name in by_target.items():
            self.bundle(name)
            told[target] = {"family": "tree", "bundle": self.path(name)}
        (folder / "bundles.json").write_text(json.dumps(told))

    def tell(self, action: Action, recipe: str, bundle: str | None) -> None:
        """An entry of the journal, about a fit whose bundle has this name."""
        version = Version(
            target="return_1w",
            family=recipe,
            params={},
            fit=bundle,
            bundle=bundle and self.path(bundle),
            run_id="r",
            reason="good",
        )
        with writing(self.store, "the test") as journal:
            journal.append(action, version, "run r")

    def left(self, *names: str) -> list[str]:
        return [name for name in names if (self.store / self.path(name)).exists()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "store")


def test_those_of_the_newest_runs_stay(desk: Desk) -> None:
    desk.run(return_1d="a", return_1w="b")
    desk.run(return_1d="c", return_1w="b")
    desk.run()
    desk.run(return_1d="d")
    assert sweep_bundles(desk.store, 3) == 1
    assert desk.left("a", "b", "c", "d") == ["b", "c", "d"]
    assert sweep_bundles(desk.store, 3) == 0
    assert sweep_bundles(desk.store, 1) == 2
    assert desk.left("b", "c", "d") == ["d"]


def test_what_is_not_named_by_its_content_is_not_ours(desk: Desk) -> None:
    desk.run(return_1d="a")
    other = desk.store / "bundles" / "by-hand"
    other.mkdir()
    desk.run()
    assert sweep_bundles(desk.store, 1) == 1
    assert other.exists()


def test_a_rollback_finds_its_bundle_however_old_it_is(desk: Desk) -> None:
    for recipe, bundle in (("tree", "t1"), ("tree", "t2"), ("net", "n1"), ("net", "n2")):
        desk.run(return_1w=bundle)
        desk.tell("promote", recipe, bundle)
    desk.run()
    sweep_bundles(desk.store, 1)
    assert desk.left("t1", "t2", "n1", "n2") == ["t2", "n2"]
    with rolling_back(desk.store) as entry:
        assert entry.version.bundle == desk.path("t2")
    desk.run()
    sweep_bundles(desk.store, 1)
    assert desk.left("t2", "n2") == ["t2", "n2"], "the recipe that was left can be named again"


def test_a_champion_that_a_person_named_stays_though_its_recipe_has_newer_ones(desk: Desk) -> None:
    for recipe, bundle in (("tree", "t1"), ("tree", "t2"), ("net", "n1")):
        desk.run(return_1w=bundle)
        desk.tell("promote", recipe, bundle)
    assert promote_to(desk.store, "1") is not None
    desk.run()
    sweep_bundles(desk.store, 1)
    assert desk.left("t1", "t2", "n1") == ["t1", "t2", "n1"]


def test_a_challenger_and_the_newest_bundle_of_each_recipe_stay(desk: Desk) -> None:
    """Of a recipe that was last seen without a bundle it is the one before."""
    desk.run(a="t1", b="n1", c="n2", d="g1")
    desk.tell("promote", "tree", "t1")
    desk.tell("challenge", "net", "n1")
    desk.tell("challenge", "net", "n2")
    desk.tell("challenge", "net", None)
    desk.tell("challenge", "gru", "g1")
    desk.run()
    sweep_bundles(desk.store, 1)
    assert desk.left("t1", "n1", "n2", "g1") == ["t1", "n2", "g1"]


@pytest.mark.parametrize("content", ["", "[]", '{"return_1d": {}}', '{"return_1d": null}'])
def test_a_list_that_cannot_be_read_removes_nothing(desk: Desk, content: str) -> None:
    desk.run(return_1d="a")
    desk.run(return_1d="b")
    damaged = next(path for path in sorted(desk.store.glob("runs/*/bundles.json"), reverse=True))
    damaged.write_text(content)
    with pytest.raises(StoreCorrupt, match=r"bundles\.json must list a run's bundles, got .*; restore it"):
        sweep_bundles(desk.store, 1)
    assert desk.left("a", "b") == ["a", "b"]


def test_an_empty_store_has_nothing_to_sweep(desk: Desk) -> None:
    assert sweep_bundles(desk.store, 1) == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from raytrain.deploy.sweep import sweep_bundles
left = int(sys.argv[2])
def deadly(call):
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **kwargs)
    return counted
for name in ("rename", "unlink", "rmdir"):
    setattr(os, name, deadly(getattr(os, name)))
sweep_bundles(Path(sys.argv[1]), 1)
"""


@pytest.fixture
def old_and_new(tmp_path: Path) -> Callable[[int], Desk]:
    def make(number: int) -> Desk:
        desk = Desk(tmp_path / str(number))
        desk.run(return_1d="a", return_1w="b")
        desk.run(return_1d="c")
        return desk

    return make


def test_a_sweep_killed_at_any_moment_leaves_no_half_bundle(old_and_new: Callable[[int], Desk]) -> None:
    """Killed before its n-th step on disk, for every n; the next run finishes the work."""
    interrupted = 0
    for calls in range(40):
        desk = old_and_new(calls)
        done = subprocess.run([sys.executable, "-c", KILLED, str(desk.store), str(calls)], check=False)
        assert done.returncode in (0, -signal.SIGKILL)
        for folder in (desk.store / "bundles").glob("[!.]*"):
            assert all((folder / file).exists() for file in FILES), f"{folder} is half a bundle after {calls} steps"
        assert desk.left("c") == ["c"]
        interrupted += any((desk.store / "bundles").glob(".*"))
        ResultStore(desk.store).sweep()
        assert not list((desk.store / "bundles").glob(".*"))
        sweep_bundles(desk.store, 1)
        assert [path.name for path in (desk.store / "bundles").iterdir()] == [Path(desk.path("c")).name]
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert interrupted >= 10, "two bundles are renamed, and of each three files and two folders are removed"


def test_a_sweep_waits_for_whoever_changes_production(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.deploy.sweep.RUN_WAITS_S", 0.0)
    desk.run(return_1d="a")
    desk.run()
    with writing(desk.store, "promote --to 1"), pytest.raises(Exception, match="promote --to 1 with pid"):
        sweep_bundles(desk.store, 1)
    assert desk.left("a") == ["a"]
    assert os.listdir(desk.store / "bundles") == [Path(desk.path("a")).name]
