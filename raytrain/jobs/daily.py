"""The daily job: `python -m raytrain.jobs.daily --config configs/daily.yaml [--dry-run] [--KEY VALUE ...]`."""

import argparse

from raytrain.jobs import _command, _terminal
from raytrain.pipeline import Watcher, execute, prepare
from raytrain.run_config import RunConfig


def daily(config: RunConfig, options: argparse.Namespace) -> int:
    """Fit, judge, forecast, report."""
    console = _terminal.make_console()
    run = prepare(config, lambda text: console.print(text, markup=False, highlight=False))
    _terminal.announce(console, run)
    if options.dry_run:
        return _command.OK
    stop = _command.StopFlag()
    with _terminal.Progress(console) as progress:
        watcher = Watcher(status=progress.status, cluster=progress.cluster, step=progress.step)
        folder, view = execute(run, watcher, stop)
    summary = view.summary
    if summary["gates"]:
        console.print(_terminal.decisions_table(summary["gates"], view.scores))
    for gate in summary["gates"]:
        if gate["verdict"] == "PROMOTE":
            console.print(gate["explanation"], markup=False, highlight=False)
    _terminal.print_failures(console, summary["failures"])
    for warning in summary["warnings"]:
        console.print(f"note: {warning}", markup=False, highlight=False)
    console.print(_terminal.counts_line(summary), highlight=False)
    console.print(_terminal.places(config.store, folder.path, progress.dashboard, tracked=config.tracking.mlflow))
    if summary["status"] != "ok":
        _terminal.print_how_to_go_on(console)
    if stop():
        return stop.exit_code
    return _command.OK if summary["status"] == "ok" else _command.SOME_FAILED


if __name__ == "__main__":
    _command.main(RunConfig, daily, __doc__ or "", ["dry-run"])
