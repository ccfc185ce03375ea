"""What a search remembers of its trials, also when it was killed among them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from raytrain.tuning.config import TuneConfig
from raytrain.tuning.problem import Problem
from raytrain.tuning.study import JOURNAL, Study, Tried, best, point_text

SPACE = {"window": {"low": 10, "high": 90}}


@pytest.fixture
def problem(make_run: Callable[..., Any], tmp_path: Path) -> Problem:
    return Problem.of(make_run(tmp_path), "naive", "return_1w", TuneConfig(space=SPACE))


def ask(study: Study) -> Any:
    return study._study.ask(study._problem.space.distributions())


def test_what_was_under_way_is_tried_again_and_what_was_over_is_not(problem: Problem) -> None:
    first = Study(problem)
    first.go_on([{"window": 77}])
    done, cut, killed = ask(first), ask(first), ask(first)
    assert done.params == {"window": 77}
    for step in (1, 2):
        done.report(0.1 * step, step)
    first._study.tell(done, 0.2)
    cut.report(-0.3, 1)
    first._study.tell(cut, state=TrialState.PRUNED)
    killed.report(0.05, 1)
    (problem.folder / f"{JOURNAL}.lock").touch()  # the killed writer held it

    again = Study(problem)
    again.go_on([{"window": 11}])
    tried = again.tried()
    assert [(one.state, one.folds, one.value) for one in tried] == [("complete", 2, 0.2), ("stopped early", 1, -0.3)]
    assert ask(again).params == killed.params
    assert ask(again).params != {"window": 11}, "only a new study begins with points"


def test_causes_are_kept_with_the_trials_that_failed(problem: Problem) -> None:
    study = Study(problem)
    good, bad = ask(study), ask(study)
    study._study.tell(good, 0.1)
    study._study.tell(bad, state=TrialState.FAIL)
    study.blame({point_text(bad.params): "it broke", point_text(good.params): "no"})
    assert [one.cause for one in Study(problem).tried()] == ["", "it broke"]


def test_the_best_saw_every_fold_and_came_first() -> None:
    def tried(number: int, state: Any, value: float | None) -> Tried:
        return Tried(number=number, state=state, params={}, folds=1, value=value)

    trials = [
        tried(0, "stopped early", 9.0),
        tried(1, "complete", 0.2),
        tried(2, "complete", 0.4),
        tried(3, "complete", 0.4),
        tried(4, "failed", None),
    ]
    assert best(trials, "max") is trials[2]
    assert best(trials, "min") is trials[1]
    assert best(trials[:1], "max") is None
