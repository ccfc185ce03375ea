"""Training alone: `python -m raytrain.jobs.train --config FILE [--families '["gru", "har"]'] [--mode two-stage]`.

Fits and scores like the daily job, whose next run finds the results; judges, forecasts and promotes nothing.
"""

import argparse

from rich.console import Console
from rich.table import Table

from raytrain.jobs import _command, _terminal
from raytrain.pipeline import Prepared, Trained, Watcher, prepare, train
from raytrain.run_config import RunConfig
from raytrain.work.plan import stages


def run(config: RunConfig, options: argparse.Namespace) -> int:
    """Fit and score."""
    console = _terminal.make_console()
    prepared = prepare(config, lambda text: console.print(text, markup=False, highlight=False))
    _terminal.announce(console, prepared)
    console.print(stages_table(prepared))
    if options.dry_run:
        return _command.OK
    stop = _command.StopFlag()
    with _terminal.Progress(console) as progress:
        watcher = Watcher(status=progress.status, cluster=progress.cluster, step=progress.step)
        trained = train(prepared, watcher, stop)
    return _tell(console, trained, stop)


def stages_table(run: Prepared) -> Table:
    """What runs side by side, and what after it."""
    table = Table(title=f"{run.config.mode} mode", title_justify="left", header_style="bold")
    for name in ("stage", "families", "fits"):
        table.add_column(name, justify="right" if name == "fits" else "left")
    for name, fits in stages(run.plan, run.config.mode):
        families = dict.fromkeys(fit.spec.family for fit in fits)
        table.add_row(name, ", ".join(families), str(len(fits)))
    return table


def _tell(console: Console, trained: Trained, stop: _command.StopFlag) -> int:
    if not trained.scores.is_empty():
        console.print(_terminal.scores_table(trained.scores))
    _terminal.print_failures(console, trained.summary["failures"])
    console.print(_terminal.counts_line(trained.summary), highlight=False)
    if trained.summary["status"] != "ok":
        _terminal.print_how_to_go_on(console)
    if stop():
        return stop.exit_code
    return _command.OK if trained.summary["status"] == "ok" else _command.SOME_FAILED


if __name__ == "__main__":
    _command.main(RunConfig, run, __doc__ or "", ["dry-run"])
