"""A search on a machine whose heat a test plays, with stand-ins for fits that stop at safe points and go on."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from raytrain.cluster import senses as senses_module
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.places import Word
from raytrain.cluster.ray_cluster import Cluster, open_cluster
from raytrain.machine.profile import MachineProfile
from raytrain.machine.sensors import HEAT_FILE
from raytrain.tuning import heat as heat_module
from raytrain.tuning.claims import factory
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.problem import Problem
from raytrain.tuning.search import Searched, search
from raytrain.tuning.trial import trainable_of
from raytrain.tuning.tune_parts import Progress

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PROFILE = MachineProfile(name="test", pcores=2, memory_gb=6, slot="cpu")
CONFIG = TuneConfig(trials=4, budget="10m", seed=1, pruning=False, space={"learning_rate": {"low": 0.01, "high": 0.9}})
STEPS = 30


def stand_in() -> Callable[[Any], Any]:
    """What workers run in place of `worker.execute`; all inside one function, so that it travels to them as a whole.

    A fit takes thirty steps, each written down below `steps`, and goes on where it was stopped. In the store `cool`
    nobody has to catch it under way.
    """

    def execute(order: Any) -> Any:
        import json
        import os
        import time

        import numpy as np
        import polars as pl

        from raytrain.cluster.worker import Outcome, execute
        from raytrain.folds import test_rows
        from raytrain.work.dataset import Dataset
        from raytrain.work.inflight import Inflight
        from raytrain.work.store import ResultStore

        if order.spec.family == "naive":
            return execute(order)
        began, worker = time.time(), f"here:{os.getpid()}"
        told = {"key": order.spec.key, "worker": worker, "started_at": began}
        step_s = 0.01 if order.store.name == "cool" else 0.1
        steps = order.store / "steps" / order.spec.key
        steps.parent.mkdir(exist_ok=True)
        with Inflight.enter(order.store, order.spec.key) as inflight:
            while not steps.exists() or len(steps.read_bytes()) < 30:
                time.sleep(step_s)
                with steps.open("ab") as file:
                    file.write(b".")
                if inflight.should_stop():
                    return Outcome(status="stopped", ended_at=time.time(), **told)
            dataset = Dataset.open(order.dataset)
            rows = np.flatnonzero(test_rows(order.spec.fold, dataset.date) & dataset.usable)
            (target,) = order.spec.target_names
            median = np.nan_to_num(dataset.y(target)[rows]) * json.loads(order.spec.params)["learning_rate"]
            date = pl.Series(dataset.date[rows]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
            series = np.asarray(dataset.meta["series"])[dataset.series[rows]]
            table = pl.DataFrame({"target": target, "series_id": series, "date": date})
            columns = {"q0.1": median - 0.01, "q0.5": median, "q0.9": median + 0.01}
            cost = {"wall_s": 0.1, "cpu_s": 0.1, "peak_memory_bytes": 1, "threads": 1, "device": "cpu", "slept": True}
            facts = {"spec": order.spec.to_dict(), "cost": cost, "prior": {}, "cut_short": False}
            ResultStore(order.store).write(order.spec.key, table.with_columns(**columns), facts)
        return Outcome(status="ok", ended_at=time.time(), cost=cost, **told)

    return execute


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(PROFILE, ClusterConfig(dashboard=False), tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@dataclass
class Oven:
    """A search, and the heat in which it runs."""

    problem: Problem
    cluster: Cluster
    file: Path

    def __post_init__(self) -> None:
        self.seen: list[Progress] = []
        self.heat(50)

    @property
    def store(self) -> Path:
        return self.problem.store

    def heat(self, degrees: float) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(str(degrees))
        beside.replace(self.file)

    def fits(self) -> set[str]:
        """The fits of the searched family that a process works on."""
        working = {path.stem for path in self.store.glob("inflight/*.json")}
        return working & {path.name for path in self.store.glob("steps/*")}

    def under_way(self) -> int:
        return len(self.fits())

    def steps(self) -> int:
        return sum(len(path.read_bytes()) for path in self.store.glob("steps/*"))

    def cut_short(self) -> bool:
        """Whether a fit has begun that has not come to its end."""
        return any(len(path.read_bytes()) < STEPS for path in self.store.glob("steps/*"))

    def search(self, play: Callable[[], None] = lambda: None) -> Searched:
        """Search to the end while `play` goes on beside."""
        failed: list[BaseException] = []

        def run() -> None:
            try:
                play()
            except BaseException as error:
                failed.append(error)
            finally:
                self.heat(50)

        player = threading.Thread(target=run)
        player.start()
        found = search(self.problem, self.cluster, CONFIG, watch=self._see, work=stand_in())
        player.join(timeout=60)
        if failed:
            raise failed[0]
        return found

    def _see(self, progress: Progress) -> None:
        self.seen.append(Progress(**vars(progress)))


@pytest.fixture
def oven(
    make_run: Callable[..., Any], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Oven]:
    """A search in a store of its own."""
    monkeypatch.setattr(senses_module, "MEMORY_EVERY_S", 0.1)
    monkeypatch.setattr(heat_module, "LOOK_EVERY_S", 0.1)
    monkeypatch.setenv(HEAT_FILE, str(tmp_path / "degrees"))

    def make(store: str) -> Oven:
        run = make_run(tmp_path / store, "naive", "lightgbm_quantile", num_folds=4)
        problem = Problem.of(run, "lightgbm_quantile", "return_1w", CONFIG).on_disk(run.dataset)
        return Oven(problem, cluster, tmp_path / "degrees")

    return make


def until(what: Callable[[], Any], seconds: float = 90) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def most_under_way(oven: Oven, seconds: float) -> int:
    """The most fits that were seen at once."""
    end, most = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        most = max(most, oven.under_way())
        time.sleep(0.02)
    return most


def free_tokens() -> float:
    return float(ray.available_resources().get("thermal", 0.0))


def test_a_hot_search_stops_at_safe_points_goes_on_when_cool_and_finds_what_a_cool_one_finds(
    oven: Callable[[str], Oven],
) -> None:
    hot, stopped = oven("hot"), []

    def play() -> None:
        until(lambda: hot.under_way() == 2)
        hot.heat(97)
        until(lambda: hot.seen[-1].paused_by == "heat" and hot.under_way() == 0)
        stopped.append(hot.steps())
        assert most_under_way(hot, 1.5) == 0
        assert stopped[0] == hot.steps() > 0
        assert hot.cut_short(), "nothing was stopped before its end"

    found = hot.search(play)
    assert stopped, "it was never hot"
    cool = oven("cool")
    expected = cool.search()
    assert found.tried and {json.dumps(dict(one.params)): one.value for one in found.tried} == {
        json.dumps(dict(one.params)): one.value for one in expected.tried
    }
    assert found.winner.params == expected.winner.params
    # What was stopped went on where it was, and began no step anew.
    assert hot.steps() == cool.steps() == STEPS * len(list(hot.store.glob("steps/*")))
    assert hot.seen[-1].paused_by == "" == cool.seen[-1].paused_by
    assert hot.seen[-1].failed == 0
    until(lambda: free_tokens() == 2.0)


def test_a_warm_search_uses_half_of_the_places(oven: Callable[[str], Oven]) -> None:
    warm, seen = oven("warm"), []

    def play() -> None:
        until(lambda: warm.under_way() == 2)
        warm.heat(90)
        until((warm.store / "places" / "said").exists)
        time.sleep(1.0)  # for a fit that had its place just before
        first = warm.fits()
        until(lambda: not first & warm.fits())
        before = warm.steps()
        seen.append(most_under_way(warm, 2.0))
        assert warm.steps() > before, "it is warm, not hot"
        assert not any(one.paused_by for one in warm.seen)

    warm.search(play)
    assert seen == [1]


@contextmanager
def own_tuner(oven: Oven) -> Iterator[list[Any]]:
    """A person's own `Tuner` in a thread; the list has its grid when it is done."""
    from ray import tune

    tuner = tune.Tuner(
        tune.with_resources(trainable_of(oven.problem, stand_in()), factory(oven.problem, oven.cluster)),
        param_space={"learning_rate": tune.grid_search([0.1, 0.2])},
        run_config=tune.RunConfig(storage_path=str(oven.store / "results"), verbose=0),
    )
    grids: list[Any] = []
    thread = threading.Thread(target=lambda: grids.append(tuner.fit()))
    thread.start()
    try:
        yield grids
    finally:
        thread.join(timeout=120)


def test_a_tuner_of_ones_own_heeds_the_word_of_another_job(
    oven: Callable[[str], Oven], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "1")
    mine = oven("mine")
    daily = Word(mine.store)
    with own_tuner(mine) as grids:
        try:
            until(lambda: mine.under_way() == 2)
            assert daily.say(0)
            until(lambda: mine.under_way() == 0)
            stopped = mine.steps()
            assert most_under_way(mine, 1.5) == 0
            assert stopped == mine.steps() > 0
            assert mine.cut_short(), "nothing was stopped before its end"
        finally:
            daily.take_back()
        until(lambda: grids)
    assert not grids[0].errors
    assert sorted(result.metrics["folds"] for result in grids[0]) == [2, 2]
    assert mine.steps() == 4 * STEPS
