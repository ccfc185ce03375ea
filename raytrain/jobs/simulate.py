"""What if: `python -m raytrain.jobs.simulate --machine m4max-64gb --nodes 8 [--config FILE] [--store DIR]`.

Plays the plan of a config through on a virtual clock with the costs that the store has taught, and compares orders and
machines. Nothing is trained. Leaves simulation.html in `<store>/simulation`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from rich.console import Console
from rich.table import Table

from raytrain.cluster.experience import learned_costs
from raytrain.cluster.runner import Expected, capacity_of_machine, expect
from raytrain.data.atomic import replacing
from raytrain.jobs import _command, _terminal
from raytrain.machine.detect import resolve
from raytrain.pipeline import Prepared, prepare
from raytrain.report.simulation import SimulationView, render_simulation
from raytrain.run_config import RunConfig
from raytrain.schedule.whatif import Question, Scenario, what_if
from raytrain.schedule.words import Settings, Task
from raytrain.work.plan import stages
from raytrain.work.store import ResultStore


class SimulateConfig(RunConfig):
    """A run, and how many machines it is imagined on."""

    nodes: int = Field(1, ge=1)
    """Machines like `machine` that work together."""


def simulate(config: SimulateConfig, options: argparse.Namespace) -> int:
    """Answer, keep the page, and print."""
    console = _terminal.make_console()
    run = prepare(RunConfig.model_validate(config.model_dump(exclude_unset=True, exclude={"nodes"})))
    view = imagine(run, config.nodes)
    page = config.store / "simulation" / "simulation.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(page) as file:
        file.write(render_simulation(view).encode())
    _print(console, view, page)
    return _command.OK


def imagine(run: Prepared, nodes: int) -> SimulationView:
    """The whole plan, as if nothing were stored, on the run's machine and on all that `machines` describes."""
    config = run.config
    store = ResultStore(config.store)
    plan = expect(run.plan.fits, store, learned_costs(store), config.cluster.timeout_s)
    others = (resolve(path.stem, config.machines) for path in sorted(config.machines.glob("*.yaml")))
    machines = {profile.name: capacity_of_machine(profile) for profile in (*others, run.profile)}
    question = Question(
        tasks=plan.tasks,
        stages=_by_stage(run, plan),
        durations=plan.seconds,
        starts=plan.start_s,
        settings=Settings(max_tries=config.cluster.max_tries, recycle_after=config.cluster.recycle_after),
        nodes=nodes,
    )
    return SimulationView(
        source=run.frame.source,
        machine=run.profile.name,
        nodes=nodes,
        found=what_if(question, run.profile.name, machines),
        tasks=plan.tasks,
        num_learned=sum(cost.num_records > 0 for cost in plan.costs.values()),
    )


def _by_stage(run: Prepared, plan: Expected) -> list[list[Task]]:
    tasks = {task.key: task for task in plan.tasks}
    return [[tasks[fit.spec.key] for fit in fits] for _, fits in stages(run.plan, "two-stage")]


def _print(console: Console, view: SimulationView, page: Path) -> None:
    chosen, several = view.found.chosen, f"{view.nodes} x " if view.nodes > 1 else ""
    console.print(
        f"{len(view.tasks)} fits on {several}{view.machine}: {_terminal.duration(chosen.makespan_s)}, held up by "
        f"{chosen.bottleneck}; cores busy {100 * chosen.utilisation:.0f} %; {view.num_learned} costs learned, "
        f"{len(view.tasks) - view.num_learned} by prior",
        highlight=False,
    )
    console.print(_table("order", view.found.policies))
    console.print(_table("machine", view.found.machines))
    console.print(str(page), markup=False, highlight=False, soft_wrap=True)


def _table(what: str, scenarios: Sequence[Scenario]) -> Table:
    table = Table(header_style="bold")
    for name in (what, "takes", "cores busy", "at least", "held up by"):
        table.add_column(name, justify="left" if name in (what, "held up by") else "right")
    for one in scenarios:
        table.add_row(
            one.name,
            _terminal.duration(one.makespan_s) if one.makespan_s is not None else "-",
            f"{100 * one.utilisation:.0f} %" if one.utilisation is not None else "-",
            _terminal.duration(one.lower_bound_s) if one.lower_bound_s is not None else "-",
            one.bottleneck,
        )
    return table


if __name__ == "__main__":
    _command.main(SimulateConfig, simulate, __doc__ or "")
