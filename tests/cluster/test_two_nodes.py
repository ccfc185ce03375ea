"""Whole jobs on a cluster of two nodes, the second without the driver's disk."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from raytrain.schedule.story import read
from raytrain.schedule.words import CapacityChanged, FitFailed, FitFinished, Start
from raytrain.work.store import ResultStore

pytestmark = pytest.mark.cluster

Job = Callable[..., subprocess.Popen[str]]


def rounds(number: int) -> list[str]:
    """Options that make LightGBM grow so many trees."""
    return ["--params.lightgbm.num_rounds", str(number), "--params.lightgbm.early_stopping_rounds", str(number)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the driver keeps its results."""
    return tmp_path / "store"


@pytest.fixture
def start(on_both: dict[str, str], start_daily: Job, tiny: list[str]) -> Job:
    """Start a small daily job of some families on both nodes."""
    return lambda families, *options: start_daily([*tiny, "--families", families, *options], **on_both)


def predictions(store: Path) -> dict[str, pl.DataFrame]:
    """Key -> what every finished fit of a store predicted, after a look at its checksums."""
    results = ResultStore(store)
    keys = [facts["key"] for facts in results.results()]
    assert results.finished(keys) == set(keys)
    return {key: results.predictions(key) for key in keys}


@pytest.mark.parametrize("machines", ["loopback", "namespace"], indirect=True)
def test_fits_go_to_a_node_without_the_drivers_disk_and_their_results_come_home(
    machines: Any,
    on_both: dict[str, str],
    daily: Callable[..., Any],
    tiny: list[str],
    store: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    options = [*tiny, "--families", "naive,har,lightgbm,ensemble", "--params.lightgbm.num_rounds", "300"]
    options += ["--params.ensemble.members", '["naive", "har"]']
    done = daily(options, **on_both)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Ray at {machines.address}: 2 cores" in done.stdout
    fits = summary()["fits"]
    assert fits["ok"] == fits["total"] > 20
    far = predictions(store)
    assert len(far) == fits["total"]

    # The second node did its part: the data is there once, its results are not.
    assert len(list((machines.node_root / "prepared").glob("[!.]*"))) == 1
    assert not list(machines.node_root.glob("incoming/*"))
    assert not list(machines.node_root.glob("inflight/*"))
    assert not list((store / "inflight").iterdir())
    hosts = {facts["environment"]["host"] for facts in ResultStore(store).results()}
    assert len(hosts) == (2 if machines.network.prefix else 1)

    shutil.rmtree(store)
    assert daily(options).returncode == 0
    near = predictions(store)
    assert near.keys() == far.keys()
    assert all(near[key].equals(far[key]) for key in near), "to the bit, whatever the node"


def _lasting(machines: Any, store: Path) -> set[str]:
    """Fits that were under way a moment ago and still are: none of those that take milliseconds."""
    before = set(machines.inflight(store))
    time.sleep(1.5)
    return before & set(machines.inflight(store))


def test_a_lost_node_costs_only_the_fits_in_flight(
    machines: Any, start: Job, store: Path, summary: Callable[[], dict[str, Any]]
) -> None:
    with start("naive,lightgbm", *rounds(25_000)) as process:
        machines.until(lambda: len(list(store.glob("fits/*/[!.]*"))) >= 4 and machines.on_second(store), "no fit")
        lost = machines.on_second(store)
        before = {path: path.stat().st_mtime_ns for path in store.glob("fits/*/[!.]*/result.json")}
        machines.raylet(1).kill()
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    fits = summary()["fits"]
    assert fits["ok"] == fits["total"] == 14
    (story,) = store.glob("runs/*/story-1.jsonl")
    words = list(read(story.read_text().splitlines(keepends=True)))
    (loss,) = (word for word in words if isinstance(word, CapacityChanged))
    assert (loss.cores, loss.memory_bytes) == ((1,), (3 * 2**30,)), "what the lost node gave is not counted any more"
    assert _most_running(words, loss) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished fit was run again"
    assert lost <= set(predictions(store))


def _most_running(words: Sequence[Any], since: Any) -> int:
    """Fits that were under way at once after those had ended that were when a machine was lost."""
    running: set[str] = set()
    counts: list[int] = []
    for word in words:
        if isinstance(word, Start):
            running.add(word.key)
            counts.append(len(running))
        elif isinstance(word, (FitFinished, FitFailed)):
            running.discard(word.key)
        elif word is since:
            counts.clear()
    return max(counts)


STRANGER = """
import json, sys, time
import ray

ray.init(address=sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1)
def trial():
    began = time.time()
    time.sleep(2)
    return began, time.time()

print(json.dumps(ray.get([trial.remote() for _ in range(6)])))
"""


def test_a_strangers_trials_and_our_fits_share_the_cores(machines: Any, start: Job, store: Path) -> None:
    command = [sys.executable, "-c", STRANGER, machines.address]
    with start("naive,lightgbm", *rounds(1_500)) as process:
        machines.until(lambda: machines.inflight(store), "no fit")
        trials = subprocess.run(command, env=machines.env, capture_output=True, text=True, check=True).stdout
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    strange = [tuple(one) for one in json.loads(trials.splitlines()[-1])]
    ours = [_span(facts) for facts in ResultStore(store).results()]
    assert _most_at_once(strange) > 0
    assert _most_at_once([*strange, *ours]) <= 2, "two cores, never three of them busy"
    assert any(begin < other_end and other_begin < end for begin, end in strange for other_begin, other_end in ours)


def _span(facts: dict[str, Any]) -> tuple[float, float]:
    """From when to when a fit was busy, by its own worker's clock."""
    end = datetime.fromisoformat(facts["stored_at"]).timestamp()
    return end - facts["spent"]["wall_s"], end


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    busy = most = 0
    for _, step in steps:
        busy += step
        most = max(most, busy)
    return most


@pytest.mark.parametrize("machines", ["namespace"], indirect=True)
def test_a_signal_stops_the_fits_of_all_nodes(
    machines: Any, start: Job, store: Path, summary: Callable[[], dict[str, Any]]
) -> None:
    with start("naive,lightgbm", *rounds(100_000)) as process:
        machines.until(lambda: machines.on_second(store), "no fit on the second node")
        machines.until(lambda: len(machines.inflight(store)) == 2, "no fit on both nodes")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, out + err
    seen = summary()
    assert seen["status"] == "stopped"
    assert seen["fits"]["ok"] == len(predictions(store))
    # A process that is killed leaves its note behind, one that reaches a safe point takes it away.
    assert not machines.inflight(store)
    assert not list((machines.node_root / "inflight").iterdir())


@pytest.mark.parametrize("machines", ["namespace"], indirect=True)
def test_a_fit_that_hears_nothing_any_more_is_killed_on_its_node(
    machines: Any, start: Job, store: Path, summary: Callable[[], dict[str, Any]]
) -> None:
    options = ["--folds.num_folds", "1", *rounds(100_000), "--cluster.timeout_s", "8"]
    with start("naive,lightgbm", *options) as process:
        key = machines.until(lambda: _lasting(machines, store) & machines.on_second(store), "no fit there").pop()
        hung = psutil.Process(machines.inflight(store)[key]["pid"])
        # Like a hang in native code: it answers neither a question nor Ray's wish that it end.
        hung.suspend()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, out + err
    assert summary()["fits"]["timeout"] == 2
    assert not hung.is_running()
