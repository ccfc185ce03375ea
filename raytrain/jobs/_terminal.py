"""What a person sees in the terminal."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytrain.cluster.driver import Status
from raytrain.cluster.ray_cluster import Cluster
from raytrain.pipeline import Prepared, estimate

_PLAIN_EVERY_S = 10.0
_COLOURS = {"PROMOTE": "bold green", "HOLD": "yellow", "REJECT": "red"}


def make_console() -> Console:
    """The terminal as it is; a file or a pipe gets lines wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


class Progress:
    """Live progress on a terminal; a line now and then where the output is a file."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._next_line = 0.0
        self.dashboard: str | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def step(self, text: str) -> None:
        """Something other than fits begins."""
        self.console.print(text, markup=False, highlight=False)

    def cluster(self, cluster: Cluster) -> None:
        """Ray is up."""
        self.dashboard = cluster.dashboard
        slots = f", {cluster.slots} slot ({cluster.slot_resource})" if cluster.slots else ""
        where = f"; dashboard: {cluster.dashboard}" if cluster.dashboard else ""
        line = f"Ray at {cluster.address}: {cluster.cores} cores{slots}{where}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def status(self, status: Status) -> None:
        """Fits are running."""
        running = "; ".join(f"{label} [{lane}]" for label, lane, _ in status.running)
        self.show(_live_view(status), f"{_headline(status)}; running: {running or 'nothing'}")

    def show(self, view: RenderableType, line: str) -> None:
        """How far it is: what a terminal shows until the next call, or the line for a file."""
        if self._live is not None:
            self._live.update(view)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _PLAIN_EVERY_S
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _headline(status: Status) -> str:
    eta = "ETA unknown" if status.eta_s is None else f"ETA {duration(status.eta_s)}"
    failed = f", {status.failed} failed" if status.failed else ""
    held = f"; nothing new is started because of {status.held_back_by}" if status.held_back_by else ""
    return f"fits {status.done}/{status.total}{failed}; {eta}; heat: {status.heat}{held}"


def _live_view(status: Status) -> Group:
    bar, running = Table.grid(), Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(total=status.total, completed=status.done, width=60))
    for label, lane, seconds in status.running:
        running.add_row(Text(lane, style="cyan"), Text(label), Text(duration(seconds), style="dim"))
    return Group(Text(_headline(status)), bar, running)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def announce(console: Console, run: Prepared) -> None:
    """What a run works on, and about how long."""
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
        f"plan, {run.config.preset} preset: {len(run.recipes.recipes)} families, {len(run.config.targets)} targets, "
        f"{len(run.folds)} folds, {len(run.config.seeds)} seeds: {len(run.plan.fits)} fits, {stored} stored, {left} to "
        f"run: about {duration(simulation.makespan_s)}, held up by {simulation.bottleneck}",
        highlight=False,
    )
    for election in run.elections:
        console.print(f"device: {election}", markup=False, highlight=False, soft_wrap=True)
    for line in run.plan.left_out:
        console.print(f"left out: {line}", markup=False, highlight=False)


def print_failures(console: Console, failures: Sequence[Mapping[str, Any]]) -> None:
    """A line per failed fit, with what to try."""
    for failure in failures:
        what = f"{failure['family']} {failure['target']} {failure['fold']}"
        line = f"failed: {what}: {failure['exception']}; {failure['advice']}"
        console.print(line, markup=False, highlight=False, style="red")


def print_how_to_go_on(console: Console) -> None:
    """The command that finishes what is left."""
    command = shlex.join([sys.executable, *sys.orig_argv[1:]])
    console.print(f"to go on: {command}", markup=False, highlight=False, soft_wrap=True)


def scores_table(scores: pl.DataFrame) -> Table:
    """Family x target: skill over naive and the price error of both."""
    table = Table(title="Forecasts against naive", title_justify="left", header_style="bold")
    for name in ("target", "family", "skill", "MAPE / naive", "coverage", "Sharpe / long"):
        table.add_column(name, justify="left" if name in ("target", "family") else "right", no_wrap=True)
    for row in scores.iter_rows(named=True):
        table.add_row(
            row["target"],
            row["family"],
            _percent(row["skill"], signed=True),
            f"{_percent(row['mape'])} / {_percent(row['naive_mape'])}",
            _percent(row["coverage"]),
            f"{_number(row['sharpe'])} / {_number(row['sharpe_long'])}",
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def decisions_table(gates: Sequence[Mapping[str, Any]], scores: pl.DataFrame) -> Table:
    """Family x horizon: error against naive, decision, reason."""
    table = Table(title="Forecasts against naive", title_justify="left", header_style="bold")
    for name, justify in (("target", "left"), ("family", "left"), ("skill", "right"), ("MAPE / naive", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("decision", no_wrap=True)
    table.add_column("reason", ratio=1)
    found = {(row["target"], row["family"]): row for row in scores.iter_rows(named=True)}
    last = None
    for gate in gates:
        row = found[gate["target"], gate["family"]]
        if last not in (None, gate["target"]):
            table.add_section()
        last = gate["target"]
        table.add_row(
            gate["target"],
            gate["family"],
            _percent(row["skill"], signed=True),
            f"{_percent(row['mape'])} / {_percent(row['naive_mape'])}",
            Text(gate["verdict"], style=_COLOURS[gate["verdict"]]),
            gate["reason"],
        )
    return table


def _percent(share: float | None, *, signed: bool = False) -> str:
    if share is None:
        return "-"
    return f"{100 * share:+.2f} %" if signed else f"{100 * share:.2f} %"


def counts_line(summary: Mapping[str, Any]) -> str:
    """`84 fits: 80 ok, 4 cached; 1 min 20 s, ...`."""
    fits = summary["fits"]
    parts = [f"{fits[name]} {name}" for name in fits if name != "total" and (fits[name] or name in ("ok", "cached"))]
    used = summary["utilisation"]
    share = "" if used is None else f"; cores busy {100 * used:.0f} %, lower bound {duration(summary['lower_bound_s'])}"
    return f"{fits['total']} fits: {', '.join(parts)}; {duration(summary['wall_s'])}{share}"


def places(store: Path, run: Path, dashboard: str | None, *, tracked: bool) -> Table:
    """Where everything is."""
    table = Table.grid(padding=(0, 2))
    table.add_row("report", str(run / "report.html"))
    table.add_row("run folder", str(run))
    mlflow = f"sqlite:///{store / 'mlflow.db'}, shown by `make dashboard`"
    table.add_row("MLflow", mlflow if tracked else "off: tracking.mlflow is false")
    ray = f"{dashboard} while fits run; it asks for what `ray get-auth-token` prints" if dashboard else "not started"
    table.add_row("Ray dashboard", ray)
    return table
