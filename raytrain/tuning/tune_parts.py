"""What Tune is given beside the trainable: the searcher, the end, and who is told."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from raytrain.tuning.heat import Cooling
from raytrain.tuning.problem import Problem
from raytrain.tuning.trial import FOLDS


class Searcher(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch that knows a trial which saw all folds from one that was stopped before.

    Tune's own tells Optuna the last value of either as if both had seen the same folds.

    Args:
        num_folds: that a whole trial sees.
        rest: see `OptunaSearch`.
    """

    def __init__(self, num_folds: int, **rest: Any) -> None:
        super().__init__(**rest)
        self._num_folds = num_folds

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        whole = result is not None and not error and result.get(FOLDS) == self._num_folds
        super().on_trial_complete(trial_id, result if whole else None, error)


class Until(tune.Stopper):  # type: ignore[misc]
    """Ends the search when its time is over, or when somebody asks."""

    def __init__(self, budget_s: float, stop_requested: Callable[[], bool]) -> None:
        self._end = time.monotonic() + budget_s
        self._stop_requested = stop_requested

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes what it is given to disk; this search does not go on from there

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stop_requested() or time.monotonic() >= self._end


@dataclass(kw_only=True)
class Progress:
    """How far a search is, for a person who watches."""

    trials: int
    """To be tried in all."""
    done: int
    """Over, in this run and before."""
    stopped_early: int = 0
    failed: int = 0
    running: int = 0
    best: float | None = None
    """The best metric of a trial that saw all folds."""
    fits: int = 0
    stored_fits: int = 0
    spent_s: float = 0.0
    budget_s: float = 0.0
    paused_by: str = ""
    """`heat` while no fit may run because of it; empty otherwise."""


Watch = Callable[[Progress], None]


class Teller(tune.Callback):  # type: ignore[misc]
    """Follows the trials and tells.

    Args:
        progress: what is told, as it was when the search began.
        watch: to whom.
        problem: what is searched for.
        cooling: says what the trials wait for.
    """

    def __init__(self, progress: Progress, watch: Watch, problem: Problem, cooling: Cooling) -> None:
        self._told, self._watch, self._cooling = progress, watch, cooling
        self._num_folds, self._metric, self._mode = len(problem.search), problem.metric, problem.mode
        self._began = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._told.running = sum(trial.status == "RUNNING" for trial in trials)
        self._told.spent_s = time.monotonic() - self._began
        self._told.paused_by = self._cooling.paused_by
        self._watch(self._told)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        told, value = self._told, result.get(self._metric)
        if value is None:
            return
        told.done += 1
        told.fits += int(result.get("fits", 0))
        told.stored_fits += int(result.get("stored_fits", 0))
        if result.get(FOLDS) != self._num_folds:
            told.stopped_early += 1
        elif told.best is None or (value > told.best) == (self._mode == "max"):
            told.best = value

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._told.done += 1
        self._told.failed += 1


class Notes(JsonLoggerCallback):  # type: ignore[misc]
    """The files of which `ResultGrid.get_dataframe` is made; Tune's own leaves those open that the end cuts short."""

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        for trial in list(self._trial_files):
            self.log_trial_end(trial)
