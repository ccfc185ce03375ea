"""What a search has tried: Optuna's study in a journal file, which `optuna-dashboard` opens while the search runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raytrain.tuning.problem import Problem

JOURNAL = "study.journal"
_INTERRUPTED = "interrupted"
_CAUSE = "cause of trial {}"

State = Literal["complete", "stopped early", "failed"]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial that is over."""

    number: int
    state: State
    params: Mapping[str, Any]
    """As Optuna keeps them; `SearchSpace.decode` makes them a family's."""
    folds: int
    """Folds that it was judged on."""
    value: float | None
    """The metric over them."""
    cause: str = ""
    """Of a failure."""


class Study:
    """The study of one search.

    Args:
        problem: what is searched for.

    The caller holds the search's lock: nobody else writes to the journal.
    """

    def __init__(self, problem: Problem) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        problem.folder.mkdir(parents=True, exist_ok=True)
        self._problem = problem
        self.name = problem.sweep
        self.storage = _storage(problem.folder / JOURNAL)
        direction: Literal["maximize", "minimize"] = "maximize" if problem.mode == "max" else "minimize"
        self._study = optuna.create_study(
            storage=self.storage, study_name=self.name, direction=direction, load_if_exists=True
        )

    def go_on(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Put what a killed search had under way in line again; a new study begins with `points`."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                self.storage.set_trial_user_attr(trial._trial_id, _INTERRUPTED, True)
                self._study.tell(trial.number, state=TrialState.FAIL)
                self._study.enqueue_trial(trial.params)
        for point in () if trials else points:
            self._study.enqueue_trial(dict(point), skip_if_exists=True)

    def blame(self, causes: Mapping[str, str]) -> None:
        """Keep why trials failed.

        Args:
            causes: parameters as JSON -> the cause.
        """
        for trial in self._study.get_trials(deepcopy=False):
            cause = causes.get(point_text(trial.params))
            if cause and trial.state.name == "FAIL" and not trial.user_attrs.get(_INTERRUPTED):
                # Of the study: a trial that is over cannot be changed.
                self._study.set_user_attr(_CAUSE.format(trial.number), cause)

    def tried(self) -> list[Tried]:
        """The trials that are over, in order; interrupted ones are not, they are tried again."""
        return list(self._tried())

    def _tried(self) -> Iterator[Tried]:
        states: Mapping[str, State] = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAIL": "failed"}
        causes = self._study.user_attrs
        for trial in self._study.get_trials(deepcopy=False):
            state = states.get(trial.state.name)
            if state is None or trial.user_attrs.get(_INTERRUPTED):
                continue
            last = max(trial.intermediate_values, default=0)
            yield Tried(
                number=trial.number,
                state=state,
                params=dict(trial.params),
                folds=last,
                value=trial.intermediate_values.get(last, trial.value),
                cause=str(causes.get(_CAUSE.format(trial.number), "")),
            )


def point_text(point: Mapping[str, Any]) -> str:
    """A point of the search as text, equal for equal points."""
    return json.dumps(dict(point), sort_keys=True)


def best(tried: Sequence[Tried], mode: str) -> Tried | None:
    """The best of the trials that saw every fold; the earliest of equals."""
    whole = [one for one in tried if one.state == "complete" and one.value is not None]
    sign = -1.0 if mode == "max" else 1.0
    return min(whole, key=lambda one: sign * (one.value or 0.0), default=None)


def _storage(journal: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    # A writer that was killed leaves its lock, and the next one would wait half a minute for it.
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna's own words stay out of a progress that is shown live."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
