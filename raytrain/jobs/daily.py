"""The daily job: `python -m raytrain.jobs.daily --config configs/daily.yaml [--dry-run] [--KEY VALUE ...]`."""

import argparse
import shlex
import sys

from rich.console import Console

from raytrain.jobs import _command, _terminal
from raytrain.pipeline import Prepared, RunConfig, Watcher, estimate, execute, prepare


def daily(config: RunConfig, options: argparse.Namespace) -> int:
    """Fit, judge, forecast, report."""
    console = _terminal.make_console()
    run = prepare(config)
    _announce(run, console)
    if options.dry_run:
        return _command.OK
    stop = _command.StopFlag()
    with _terminal.Progress(console) as progress:
        watcher = Watcher(status=progress.status, cluster=progress.cluster, step=progress.step)
        folder, view = execute(run, watcher, stop)
    summary = view.summary
    if summary["gates"]:
        console.print(_terminal.decisions_table(summary["gates"], view.scores))
    for failure in summary["failures"]:
        what = f"{failure['family']} {failure['target']} {failure['fold']}"
        console.print(
            f"failed: {what}: {failure['exception']}; {failure['advice']}", markup=False, highlight=False, style="red"
        )
    for warning in summary["warnings"]:
        console.print(f"note: {warning}", markup=False, highlight=False)
    console.print(_terminal.counts_line(summary), highlight=False)
    console.print(_terminal.places(config.store, folder.path, progress.dashboard, tracked=config.tracking.mlflow))
    if summary["status"] != "ok":
        console.print(
            f"to go on: {shlex.join([sys.executable, *sys.orig_argv[1:]])}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if stop():
        return stop.exit_code
    return _command.OK if summary["status"] == "ok" else _command.SOME_FAILED


def _announce(run: Prepared, console: Console) -> None:
    frame, profile = run.frame, run.profile
    first, last = (str(date)[:10] for date in (frame.table["date"].min(), frame.table["date"].max()))
    console.print(
        f"{frame.source}: {frame.table.height} rows, {len(frame.series)} series, {first} to {last}; "
        f"{run.dataset.x.shape[1]} features; machine {profile.name}: {profile.pcores} cores, {profile.memory_gb:g} GB, "
        f"slot on {profile.slot}",
        markup=False,
        highlight=False,
    )
    simulation, left = estimate(run)
    stored = len(run.plan.fits) - left
    console.print(
        f"plan: {len(run.recipes.recipes)} families x {len(run.config.targets)} targets x {len(run.folds)} folds x "
        f"{len(run.config.seeds)} seeds = {len(run.plan.fits)} fits, {stored} stored, {left} to run: about "
        f"{_terminal.duration(simulation.makespan_s)}, held up by {simulation.bottleneck}",
        highlight=False,
    )


if __name__ == "__main__":
    _command.main(RunConfig, daily, __doc__ or "", ["dry-run"])
