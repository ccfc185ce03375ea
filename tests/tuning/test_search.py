"""The search on a real Ray of two cores, with stand-ins for fits whose loss is known."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.ray_cluster import Cluster, open_cluster
from raytrain.machine.profile import MachineProfile
from raytrain.tuning import resources, trainable
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.problem import Problem
from raytrain.tuning.search import AllTrialsFailed, BudgetTooShort, Searched, _last_grid, search
from raytrain.tuning.tune_parts import Progress
from raytrain.tuning.tuned import tuned_params
from raytrain.tuning.verdict import judge

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PROFILE = MachineProfile(name="test", pcores=2, memory_gb=6, slot="cpu")
SPACE = {
    "learning_rate": {"low": 0.001, "high": 1.0, "log": True},
    "feature_fraction": {"low": 0.1, "high": 1.0},
    **dict.fromkeys(("num_leaves", "min_data_in_leaf", "bagging_fraction")),
}
DEFAULT = {"lightgbm_quantile": {"learning_rate": 0.9}}
BEST = {"learning_rate": 0.05, "feature_fraction": 0.7}
"""Where the planted loss is lowest; it rises with the distance, the learning rate's in decades."""


def stand_in() -> Callable[[Any], Any]:
    """What workers run in place of `worker.execute`; all inside one function, so that it travels to them as a whole.

    Its forecasts are the outcome, blurred by the distance from the best parameters and a little by the fold. A
    `bagging_freq` above 0 makes it misbehave.
    """

    def execute(order: Any) -> Any:
        import json
        import math
        import os
        import time
        import zlib

        import numpy as np
        import polars as pl

        from raytrain.cluster.worker import Outcome, execute
        from raytrain.folds import test_rows
        from raytrain.work.dataset import Dataset
        from raytrain.work.inflight import Inflight
        from raytrain.work.store import ResultStore

        if order.spec.family == "naive":
            return execute(order)
        params, began = json.loads(order.spec.params), time.time()
        with Inflight.enter(order.store, order.spec.key):
            match params["bagging_freq"]:
                case 1:
                    raise ValueError("it does not like these")
                case 2:
                    os._exit(1)
                case 3:
                    time.sleep(600)
        far = math.hypot(math.log10(params["learning_rate"] / 0.05) / 1.5, params["feature_fraction"] - 0.7)
        noise = np.random.default_rng(zlib.crc32(order.spec.key.encode())).uniform(-0.03, 0.03)
        share = min(1.0, max(0.0, far + noise))
        dataset = Dataset.open(order.dataset)
        rows = np.flatnonzero(test_rows(order.spec.fold, dataset.date) & dataset.usable)
        (target,) = order.spec.target_names
        median = (1 - share) * np.nan_to_num(dataset.y(target)[rows])
        if params["bagging_freq"] == 4:
            median[:] = np.nan
        date = pl.Series(dataset.date[rows]).cast(pl.Datetime("ns")).cast(pl.Datetime("us"))
        series = np.asarray(dataset.meta["series"])[dataset.series[rows]]
        table = pl.DataFrame({"target": target, "series_id": series, "date": date})
        spread = 0.001 + 0.06 * share
        columns = {"q0.1": median - spread, "q0.5": median, "q0.9": median + spread}
        cost = {"wall_s": 0.1, "cpu_s": 0.1, "peak_memory_bytes": 1, "threads": 1, "device": "cpu", "slept": True}
        facts = {"spec": order.spec.to_dict(), "cost": cost, "prior": {}, "cut_short": False}
        ResultStore(order.store).write(order.spec.key, table.with_columns(**columns), facts)
        told = {"key": order.spec.key, "worker": f"here:{os.getpid()}", "started_at": began, "ended_at": time.time()}
        return Outcome(status="ok", cost=cost, **told)

    return execute


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with open_cluster(PROFILE, ClusterConfig(dashboard=False), tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


MakeRun = Callable[..., Any]


@pytest.fixture
def hunt(make_run: MakeRun, cluster: Cluster, tmp_path: Path) -> Callable[..., tuple[Problem, Searched]]:
    """Search the planted problem."""

    def run(store: str = "store", **config: Any) -> tuple[Problem, Searched]:
        given = TuneConfig(**{"space": SPACE, "budget": "10m", "seed": 1} | config)
        prepared = make_run(tmp_path / store, "naive", "lightgbm_quantile", params=DEFAULT)
        problem = Problem.of(prepared, "lightgbm_quantile", "return_1w", given).on_disk(prepared.dataset)
        seen: list[Progress] = []
        found = search(problem, cluster, given, watch=seen.append, work=stand_in())
        assert all(one.trials == given.trials for one in seen)
        return problem, found

    return run


OPEN = """
import sys
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(sys.argv[1])))
under_way = sum(trial.state.name == "RUNNING" for trial in study.trials)
print(study.study_name, study.direction.name, under_way, study.trials[0].params["learning_rate"])
"""


def test_another_process_opens_the_study_while_the_search_runs(
    hunt: Callable[..., tuple[Problem, Searched]], tmp_path: Path
) -> None:
    """As `optuna-dashboard` does, which is told no more than the path of the journal."""
    said: list[str] = []

    def look() -> None:
        until_there = time.monotonic() + 60
        while not (journals := list(tmp_path.glob("store/sweeps/*/study.journal"))) or not list(
            tmp_path.glob("store/inflight/*.json")
        ):
            assert time.monotonic() < until_there, "the search did not begin"
            time.sleep(0.05)
        command = [sys.executable, "-W", "ignore", "-c", OPEN, str(journals[0])]
        said.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    looker = threading.Thread(target=look)
    looker.start()
    problem, found = hunt(trials=10, pruning=False)
    looker.join(timeout=60)
    name, direction, under_way, first = said[0].split()
    assert (name, direction, float(first)) == (problem.sweep, "MAXIMIZE", found.tried[0].params["learning_rate"])
    assert int(under_way) >= 1


def num_fits(problem: Problem) -> int:
    """Results of the searched family that are in the store."""
    paths = problem.store.glob("fits/*/*/result.json")
    return sum(json.loads(path.read_text())["spec"]["family"] == problem.family for path in paths)


def test_sixty_trials_find_the_planted_region_and_pruning_saves_a_third(
    hunt: Callable[..., tuple[Problem, Searched]],
) -> None:
    pruned, found = hunt("pruned", trials=60)
    whole, thorough = hunt("whole", trials=60, pruning=False)
    for one in (found.winner, thorough.winner):
        assert 0.02 < one.params["learning_rate"] < 0.125, "within 0.4 decades of 0.05"
        assert abs(one.params["feature_fraction"] - 0.7) < 0.25
    assert len(found.tried) == len(thorough.tried) == 60
    states = [one.state for one in found.tried]
    assert states.count("stopped early") >= 20
    assert {one.state for one in thorough.tried} == {"complete"}
    # Every planted fit takes as long as any other.
    assert num_fits(pruned) <= 0.7 * num_fits(whole)
    # The noise of a trial is +-0.03 of naive's loss.
    assert found.winner.value == pytest.approx(thorough.winner.value, abs=0.06)


def test_a_search_that_is_asked_again_goes_on_and_fits_nothing_twice(
    hunt: Callable[..., tuple[Problem, Searched]],
) -> None:
    problem, first = hunt(trials=4, pruning=False)
    assert first.grid is not None and len(first.grid.get_dataframe()) == 4
    results = {path: path.stat().st_mtime_ns for path in problem.store.glob("fits/*/*/result.json")}
    (notes,) = (problem.folder / "tune").iterdir()
    _, same = hunt(trials=4, pruning=False)
    assert same.tried == first.tried
    assert list((problem.folder / "tune").iterdir()) == [notes], "the newest run's are kept"
    assert len(_last_grid(problem)) == 4
    assert same.grid is None
    _, more = hunt(trials=6, pruning=False)
    assert more.tried[:4] == first.tried
    assert len(more.tried) == 6
    (newest,) = (problem.folder / "tune").iterdir()
    assert newest.name > notes.name
    assert len(_last_grid(problem)) == len(more.grid) == 2
    assert all(Path(result.path).is_dir() for result in more.grid)
    assert {path: path.stat().st_mtime_ns for path in results} == results
    assert num_fits(problem) == 6 * len(problem.search)
    points = {json.dumps(dict(one.params)) for one in more.tried}
    assert len(points) == 6, "a search that goes on does not draw what it has drawn before"


MISBEHAVE = {
    1: "ValueError: it does not like these",
    2: "the worker process died",
    3: "Timeout: killed after 20 s",
    4: "`actual`, `predicted`",
}


def test_trials_that_raise_die_hang_or_forecast_nan_are_named_and_the_search_goes_on(
    hunt: Callable[..., tuple[Problem, Searched]],
) -> None:
    space = SPACE | {"bagging_freq": [0, 1, 2, 3, 4]}
    _, found = hunt(trials=14, space=space, pruning=False, timeout_s=20)
    assert len(found.tried) == 14
    seen = set()
    for one in found.tried:
        mode = one.params["bagging_freq"]
        seen.add(mode)
        assert one.state == ("failed" if mode else "complete")
        if mode and mode != 4:
            assert MISBEHAVE[mode] in one.cause
        elif mode:
            assert "finite" in one.cause
    assert seen >= {0, 1, 2, 3, 4}


def test_when_all_fail_the_first_cause_is_told(hunt: Callable[..., tuple[Problem, Searched]]) -> None:
    with pytest.raises(AllTrialsFailed, match=r"all 3 trial\(s\) of lightgbm_quantile-return_1w failed, the first: .*"):
        hunt(trials=3, space=SPACE | {"bagging_freq": [1]})


def test_a_budget_shorter_than_one_trial_is_named(hunt: Callable[..., tuple[Problem, Searched]]) -> None:
    with pytest.raises(BudgetTooShort, match="must last for one trial of 4 folds, got 2s"):
        hunt(trials=3, space=SPACE | {"bagging_freq": [3]}, budget="2s")


def test_the_winner_is_compared_on_the_folds_held_out_and_warms_the_next_search(
    hunt: Callable[..., tuple[Problem, Searched]], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.tuning import verdict

    problem, found = hunt(trials=8, pruning=False)
    real = verdict.Driver
    monkeypatch.setattr(verdict, "Driver", lambda **given: real(**given, work=stand_in()))
    config = TuneConfig(space=SPACE)
    tuned = judge(problem, found, cluster, config, watch=lambda status: None)
    assert tuned.answer == "better"
    assert tuned.holdout.gain > 0.3
    assert 0 < tuned.holdout.low < tuned.holdout.gain < tuned.holdout.high
    assert tuned.holdout.dates > 60
    assert tuned.holdout_folds == [fold.name for fold in problem.holdout]
    assert tuned.value >= tuned.default_value
    assert tuned.trials == {"complete": 8, "stopped early": 0, "failed": 0}
    tuned.write(problem.store)
    assert tuned_params(problem.store, [problem.family], ["return_1w"])[0] == {problem.family: tuned.params}
    _, other = hunt(trials=1, pruning=False, metric="mae")
    assert {name: other.tried[0].params[name] for name in BEST} == tuned.params


def test_a_person_tunes_with_a_searcher_of_their_own(make_run: MakeRun, cluster: Cluster, tmp_path: Path) -> None:
    from ray import tune

    run = make_run(tmp_path / "store")
    config = TuneConfig(space={"window": {"low": 10, "high": 90}})
    naive = trainable(run, "naive", "return_1w", config)
    for claim in (resources(run, "naive", "return_1w", config), {"cpu": 1, "pcore": 1}):
        tuner = tune.Tuner(
            tune.with_resources(naive, claim),
            param_space={"window": tune.grid_search([20, 60])},
            tune_config=tune.TuneConfig(metric="skill", mode="max"),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "results"), verbose=0),
        )
        grid = tuner.fit()
        assert not grid.errors
        assert sorted(result.metrics["folds"] for result in grid) == [4, 4]
        assert grid.get_best_result().config["window"] in (20, 60)
