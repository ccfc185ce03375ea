"""A search from its question to its answer: what `raytrain.jobs.tune` does."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil

from raytrain.cluster.driver import Status
from raytrain.cluster.ray_cluster import NOTE, Cluster, open_cluster
from raytrain.machine.awake import keep_awake
from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.of_sweep import record_of_sweep
from raytrain.tracking.track import track
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.problem import Problem, Run
from raytrain.tuning.search import Searched, search
from raytrain.tuning.tune_parts import Progress
from raytrain.tuning.tuned import Tuned
from raytrain.tuning.verdict import judge
from raytrain.work.lock import hold


@dataclass(frozen=True)
class Watcher:
    """What a person who watches is told."""

    progress: Callable[[Progress], None]
    status: Callable[[Status], None]
    cluster: Callable[[Cluster], None]
    step: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A search and its answer."""

    problem: Problem
    searched: Searched
    tuned: Tuned
    path: Path
    """Where the answer is kept."""
    warnings: tuple[str, ...]


def tune(
    run: Run,
    problem: Problem,
    config: TuneConfig,
    *,
    tracking: TrackingConfig,
    watcher: Watcher,
    stop_requested: Callable[[], bool],
) -> Found:
    """Search, compare the winner with the default, keep the answer and its evidence, and track it.

    Args:
        run: what `raytrain.pipeline.prepare` gives.
        problem: what is searched for.
        config: how.
        tracking: whether and where the search is tracked.
        watcher: is told.
        stop_requested: asked often.

    Raises:
        StoreLocked: the same search runs elsewhere.
        AllTrialsFailed, BudgetTooShort, ComparisonFailed: nothing is recommended; what is finished is kept.
    """
    started = datetime.now()
    warnings = neighbours(problem.store)
    with hold(problem.folder, f"the search {problem.sweep}"), keep_awake(), _cluster(run, problem) as cluster:
        watcher.cluster(cluster)
        problem = problem.on_disk(run.dataset)
        searched = search(problem, cluster, config, watch=watcher.progress, stop_requested=stop_requested)
        watcher.step(f"comparing with the default on {', '.join(fold.name for fold in problem.holdout)}")
        tuned = judge(problem, searched, cluster, config, watch=watcher.status, stop_requested=stop_requested)
    path = tuned.write(problem.store)
    trials = [asdict(one) | {"params": problem.space.decode(one.params)} for one in searched.tried]
    record = record_of_sweep(tuned.model_dump(mode="json"), trials, started, datetime.now(), [path])
    warnings += track(problem.store, tracking, record)
    return Found(problem=problem, searched=searched, tuned=tuned, path=path, warnings=tuple(warnings))


@contextmanager
def _cluster(run: Run, problem: Problem) -> Iterator[Cluster]:
    # A Ray of our own is noted beside the search: the store's note is that of the daily job, which may run meanwhile.
    home = problem.store if "RAY_ADDRESS" in os.environ else problem.folder
    with open_cluster(run.profile, run.config.cluster, home) as cluster:
        yield cluster


def neighbours(store: Path) -> list[str]:
    """A warning when another run of this store has a Ray of its own: two of them share no books."""
    with suppress(OSError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        pid, created = json.loads((store / NOTE).read_text())["driver"]
        if "RAY_ADDRESS" not in os.environ and psutil.Process(pid).create_time() == created:
            return [
                f"process {pid} runs fits of this store on a Ray of its own, so that both crowd the cores; start one "
                "with `jobs/ray/node.sh --head` and give both jobs RAY_ADDRESS=127.0.0.1:6379"
            ]
    return []
