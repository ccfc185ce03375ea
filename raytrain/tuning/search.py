"""The search itself: Ray Tune with Optuna's TPE and ASHA over the folds, on the cluster that fits run on."""

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from raytrain.cluster.hands import Execute
from raytrain.cluster.ray_cluster import Cluster, open_cluster
from raytrain.cluster.worker import execute
from raytrain.engines.base import never
from raytrain.errors import RaytrainError, UserError
from raytrain.tuning.claims import factory, joined, num_at_once
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.heat import Cooling
from raytrain.tuning.problem import Problem, Run
from raytrain.tuning.study import Study, Tried, best, point_text, quiet_optuna
from raytrain.tuning.trial import FOLDS, trainable_of
from raytrain.tuning.tuned import last_point
from raytrain.work.lock import hold

if TYPE_CHECKING:
    from raytrain.tuning.tune_parts import Progress, Watch

_CLEANUP_S = 5
"""Seconds that Tune waits for trials to end by themselves when the search is over; their fits go with them."""


class AllTrialsFailed(RaytrainError):
    """No trial came to its end, and at least one failed."""


class BudgetTooShort(UserError):
    """The time was over before one trial was."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search has found so far, over all of its runs."""

    tried: tuple[Tried, ...]
    winner: Tried
    """The best trial that saw every fold."""
    grid: Any
    """Tune's `ResultGrid` of this run's trials; None when there was nothing left to try."""
    stopped: bool
    """Somebody asked for the end before the trials or the time were used up."""


def sweep(
    run: Run, family: str, target: str, config: TuneConfig | None = None, *, verbose: int = 1, **options: Any
) -> Any:
    """Search from a notebook, on the cluster that it is connected to or on one for as long as the search lasts.

    Args:
        run: what `raytrain.pipeline.prepare` gives.
        family: its name.
        target: its name.
        config: how; the defaults when not given.
        verbose: how much of Tune's own progress is shown, 0 to 2.
        options: fields of `TuneConfig` over `config`: `trials=20, budget="5m"`.

    Returns:
        Tune's own `ResultGrid`, of the trials of this call: those of an earlier call on the same data are not tried
        again.

    Raises:
        ConfigError: see `Problem.of`.
        AllTrialsFailed, BudgetTooShort: see `search`.
        StoreLocked: the same search runs elsewhere.
    """
    config = TuneConfig.model_validate((config or TuneConfig()).model_dump() | options)
    problem = Problem.of(run, family, target, config).on_disk(run.dataset)
    with ExitStack() as stack:
        stack.enter_context(hold(problem.folder, f"the search {problem.sweep}"))
        if ray.is_initialized():
            cluster = joined(run.profile)
        else:
            cluster = stack.enter_context(open_cluster(run.profile, run.config.cluster, problem.store))
        found = search(problem, cluster, config, verbose=verbose)
    return found.grid if found.grid is not None else _last_grid(problem)


def search(
    problem: Problem,
    cluster: Cluster,
    config: TuneConfig,
    *,
    watch: "Watch | None" = None,
    stop_requested: Callable[[], bool] = never,
    verbose: int = 0,
    work: Execute = execute,
) -> Searched:
    """Try parameter sets until there are enough, or the time is over; goes on where an interrupted search ended.

    Args:
        problem: what is searched for, its dataset on disk; the caller holds its lock.
        cluster: where, connected to.
        config: how.
        watch: is told how far it is.
        stop_requested: asked often; True ends the search with what it has.
        verbose: how much of Tune's own progress is shown, 0 to 2.
        work: what a process does with its order.

    Raises:
        AllTrialsFailed: with the first cause.
        BudgetTooShort: no trial saw every fold in time.
        ConfigError: the cluster has no room for a trial.
    """
    with quiet_optuna():
        study = Study(problem)
        study.go_on(first_points(problem))
        left = config.trials - len(study.tried())
        grid = None
        if left > 0:
            one_run = _Search(
                problem=problem,
                cluster=cluster,
                config=config,
                study=study,
                watch=watch,
                stop_requested=stop_requested,
                verbose=verbose,
                work=work,
            )
            grid = one_run.run(left)
            study.blame(_causes(grid))
        tried = tuple(study.tried())
    stopped = stop_requested()
    return Searched(tried=tried, winner=_winner(problem, config, tried, stopped), grid=grid, stopped=stopped)


def first_points(problem: Problem) -> list[dict[str, Any]]:
    """What a new search begins with: yesterday's best, and the parameters that the run has now."""
    points = [last_point(problem.store, problem.family, problem.target.name), problem.base]
    return [point for point in map(problem.space.encode, points) if point]


def _winner(problem: Problem, config: TuneConfig, tried: Sequence[Tried], stopped: bool) -> Tried:
    if winner := best(tried, problem.mode):
        return winner
    failed = [one for one in tried if one.state == "failed"]
    if failed:
        cause = next((one.cause for one in failed if one.cause), "the trial ended without a word")
        raise AllTrialsFailed(f"all {len(failed)} trial(s) of {problem.name} failed, the first: {cause}")
    if stopped:
        raise AllTrialsFailed(f"the search of {problem.name} was stopped before a trial had seen every fold")
    raise BudgetTooShort(
        f"tune.budget must last for one trial of {len(problem.search)} folds, got {config.budget}, in which none was "
        "done; give it more time: the folds that are done are kept"
    )


@dataclass(frozen=True, kw_only=True)
class _Search:
    """One run of a search."""

    problem: Problem
    cluster: Cluster
    config: TuneConfig
    study: Study
    watch: "Watch | None"
    stop_requested: Callable[[], bool]
    verbose: int
    work: Execute

    def run(self, left: int) -> Any:
        """Give the trials that are left to Tune; returns its `ResultGrid`."""
        _set_up_tune(signals=self.stop_requested is never, quiet=not self.verbose)
        with Cooling(self.cluster, self.problem.store) as cooling:
            grid = self._tuner(left, cooling).fit()
        for old in _tune_folders(self.problem)[:-1]:
            shutil.rmtree(old)
        return grid

    def _tuner(self, left: int, cooling: Cooling) -> Any:
        from ray import tune

        problem = self.problem
        claim = factory(problem, self.cluster)
        return tune.Tuner(
            tune.with_resources(trainable_of(problem, self.work), claim),
            tune_config=tune.TuneConfig(
                metric=problem.metric,
                mode=problem.mode,
                num_samples=left,
                search_alg=_searcher(problem, self.study, self.config),
                scheduler=_scheduler(problem, self.config),
                # On a cluster that others use too, a core is free for them after every trial.
                reuse_actors="RAY_ADDRESS" not in os.environ,
                max_concurrent_trials=self.config.concurrency or num_at_once(problem, self.cluster),
                trial_name_creator=lambda trial: f"{problem.name}-{trial.trial_id}",
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=self._run_config(cooling),
        )

    def _run_config(self, cooling: Cooling) -> Any:
        from ray import tune

        from raytrain.tuning.tune_parts import Notes, Teller, Until

        problem, config = self.problem, self.config
        callbacks: list[Any] = [Notes()]
        if self.watch is not None:
            progress = _progress(problem, config, self.study)
            callbacks.append(Teller(progress, self.watch, problem, cooling))
        return tune.RunConfig(
            name=datetime.now().strftime("%Y%m%d-%H%M%S-%f"),
            storage_path=str(_tune_home(problem)),
            failure_config=tune.FailureConfig(max_failures=0),
            stop=Until(config.budget_s, self.stop_requested),
            callbacks=callbacks,
            verbose=self.verbose,
        )


def _progress(problem: Problem, config: TuneConfig, study: Study) -> "Progress":
    from raytrain.tuning.tune_parts import Progress

    before = study.tried()
    winner = best(before, problem.mode)
    return Progress(
        trials=config.trials,
        done=len(before),
        stopped_early=sum(one.state == "stopped early" for one in before),
        failed=sum(one.state == "failed" for one in before),
        best=None if winner is None else winner.value,
        budget_s=config.budget_s,
    )


def _searcher(problem: Problem, study: Study, config: TuneConfig) -> Any:
    from optuna.samplers import TPESampler

    from raytrain.tuning.tune_parts import Searcher

    return Searcher(
        len(problem.search),
        space=problem.space.distributions(),
        metric=problem.metric,
        mode=problem.mode,
        study_name=study.name,
        storage=study.storage,
        # A sampler that goes on must not draw what it has drawn before.
        sampler=TPESampler(seed=config.seed + len(study.tried())),
    )


def _scheduler(problem: Problem, config: TuneConfig) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if not config.pruning or len(problem.search) < 2:
        return FIFOScheduler()
    return ASHAScheduler(time_attr=FOLDS, max_t=len(problem.search), grace_period=1, reduction_factor=config.reduction)


def _set_up_tune(*, signals: bool, quiet: bool) -> None:
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_FORCE_TRIAL_CLEANUP_S", str(_CLEANUP_S))
    # The newer output prints a table however quiet it is told to be.
    if quiet:
        os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
        # Tune logs a trace for every failed trial; here their causes are told when the search is over.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if not signals:
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"


def _causes(grid: Any) -> Mapping[str, str]:
    """The parameters of failed trials, as text -> why."""
    return {point_text(result.config): _cause(result.error) for result in grid if result.error is not None}


def _cause(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(cause).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(cause).__name__


def _last_grid(problem: Problem) -> Any:
    """The results of the newest run of a search that has nothing left to try."""
    from ray.tune import ExperimentAnalysis, ResultGrid

    newest = _tune_folders(problem)[-1]
    return ResultGrid(ExperimentAnalysis(str(newest), default_metric=problem.metric, default_mode=problem.mode))


def _tune_home(problem: Problem) -> Path:
    return problem.folder / "tune"


def _tune_folders(problem: Problem) -> list[Path]:
    """Tune's own notes of each run of a search, the newest last: their names are times."""
    return sorted(path for path in _tune_home(problem).iterdir() if path.is_dir())
