"""Search: `python -m raytrain.jobs.tune --config FILE --family F --target T [--trials 100] [--budget 30m]`.

Ray Tune with Optuna's TPE and ASHA over the older folds; the winner is compared with the default on the newest ones,
and the answer may be that it is no better. The same command goes on where an interrupted search ended.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raytrain.jobs import _command, _terminal
from raytrain.pipeline import prepare
from raytrain.run_config import RunConfig
from raytrain.tuning.config import Budget, TuneConfig
from raytrain.tuning.problem import Problem
from raytrain.tuning.run import Found, Watcher, tune
from raytrain.tuning.tune_parts import Progress
from raytrain.tuning.tuned import Gain, Tuned


class TuneJob(RunConfig):
    """A run's config, and what is searched for."""

    family: str
    """The family whose parameters are searched."""
    target: str
    """The target that they are searched for, by name: `return_1w`."""
    trials: int | None = Field(None, ge=1)
    """Short for `tune.trials`."""
    budget: Budget | None = None
    """Short for `tune.budget`."""

    @property
    def search(self) -> TuneConfig:
        """How is searched, with what the short names say."""
        given = {name: value for name in ("trials", "budget") if (value := getattr(self, name)) is not None}
        return TuneConfig.model_validate(self.tune.model_dump(exclude_unset=True) | given)

    @property
    def run(self) -> RunConfig:
        """What the daily job would do with this family alone, untuned."""
        given = self.model_dump(exclude_unset=True, include=set(RunConfig.model_fields) - {"tune", "tuned"})
        families = tuple(dict.fromkeys(("naive", self.family)))
        return RunConfig.model_validate(given | {"families": families, "plan": "none"})


def act(config: TuneJob, options: argparse.Namespace) -> int:
    """Search, compare, keep."""
    console = _terminal.make_console()
    run = prepare(config.run)
    problem = Problem.of(run, config.family, config.target, config.search)
    _announce(console, problem, config.search)
    if options.dry_run:
        return _command.OK
    stop = _command.StopFlag()
    try:
        with _Shown(console, config.search.metric) as shown:
            found = tune(
                run, problem, config.search, tracking=config.tracking, watcher=shown.watcher, stop_requested=stop
            )
    finally:
        if stop():
            _terminal.print_how_to_go_on(console)
    _tell(console, found)
    return stop.exit_code if stop() else _command.OK


def _announce(console: Console, problem: Problem, config: TuneConfig) -> None:
    lines = [f"searching {problem.family} for {problem.target.name} by {problem.metric}, kept in {problem.folder}"]
    lines += [f"  {name}: {_range(one)}" for name, one in problem.space.to_json().items()]
    search, holdout = (", ".join(fold.name for fold in folds) for folds in (problem.search, problem.holdout))
    lines += [f"{config.trials} trials within {config.budget} on the folds {search}; held out: {holdout}"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _range(one: Any) -> str:
    if isinstance(one, Mapping):
        return f"{one['low']:g} to {one['high']:g}{', logarithmic' if one['log'] else ''}"
    return ", ".join(map(str, one))


class _Shown(_terminal.Progress):
    """Trials, and then the fits that the winner is compared on."""

    def __init__(self, console: Console, metric: str) -> None:
        super().__init__(console)
        self._metric = metric

    @property
    def watcher(self) -> Watcher:
        """What the search tells."""
        return Watcher(progress=self._trials, status=self.status, cluster=self.cluster, step=self.step)

    def _trials(self, progress: Progress) -> None:
        line = _progress_line(progress, self._metric)
        self.show(Text(line), line)


def _progress_line(progress: Progress, metric: str) -> str:
    best = "none yet" if progress.best is None else _number(progress.best)
    spent, budget = (_terminal.duration(seconds) for seconds in (progress.spent_s, progress.budget_s))
    paused = f"; paused: {progress.paused_by}" if progress.paused_by else ""
    return (
        f"trials {progress.done}/{progress.trials}, {progress.stopped_early} stopped early, {progress.failed} failed; "
        f"{progress.running} running; best {metric} {best}; {spent} of {budget}{paused}"
    )


def _tell(console: Console, found: Found) -> None:
    tuned = found.tuned
    console.print(answer_table(tuned))
    for trial in found.searched.tried:
        if trial.cause:
            console.print(f"trial {trial.number} failed: {trial.cause}", markup=False, highlight=False, style="red")
    for warning in found.warnings:
        console.print(f"note: {warning}", markup=False, highlight=False)
    counted = ", ".join(f"{number} {state}" for state, number in tuned.trials.items())
    console.print(f"{sum(tuned.trials.values())} trials: {counted}", highlight=False)
    console.print(sentence(tuned), markup=False, highlight=False, soft_wrap=True)
    console.print(_places(found))


def answer_table(tuned: Tuned) -> Table:
    """Parameter by parameter, then metric by metric: the default beside the winner."""
    table = Table(title=f"{tuned.family} for {tuned.target}", title_justify="left", header_style="bold")
    for name in ("", "default", "tuned"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, value in tuned.params.items():
        table.add_row(name, _shown(tuned.default[name]), _shown(value))
    table.add_section()
    table.add_row(f"{tuned.metric}, search folds", _number(tuned.default_value), _number(tuned.value))
    if tuned.holdout is not None:
        table.add_row("loss, folds held out", _number(tuned.holdout.default_loss), _number(tuned.holdout.loss))
    return table


def sentence(tuned: Tuned) -> str:
    """The answer."""
    held = ", ".join(tuned.holdout_folds)
    gain = tuned.holdout
    if gain is None:
        return "The default is the best that was found: nothing is recommended."
    if tuned.answer == "too few dates":
        return f"Not known: {held} hold too few dates ({gain.dates}) to compare on; nothing is recommended."
    told = f"on {held} its loss is {_gain(gain)}"
    if tuned.answer == "better":
        return f"Better: {told}; `tuned: true` makes the daily job use it."
    return f"No better than the default: {told}; nothing is recommended."


def _gain(gain: Gain) -> str:
    assert gain.low is not None and gain.high is not None and gain.gain is not None
    low, high, middle = 100 * gain.low, 100 * gain.high, 100 * gain.gain
    how = "lower" if middle >= 0 else "higher"
    return f"{abs(middle):.2f} % {how}, gain {low:+.2f} to {high:+.2f} % at {100 * gain.confidence:g} %"


def _places(found: Found) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("answer", str(found.path))
    table.add_row("study", f"{found.problem.folder / 'study.journal'}, shown by `optuna-dashboard`")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    _command.main(TuneJob, act, __doc__ or "", ["dry-run"])
