"""`WhatIf` -> one HTML file: when each fit would run, and the same plan in other orders and on other machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from raytrain.report.page import environment
from raytrain.report.timeline import family_colours, timeline
from raytrain.schedule.simulate import Placed, Simulation
from raytrain.schedule.whatif import Scenario, WhatIf
from raytrain.schedule.words import Task


@dataclass(frozen=True, kw_only=True)
class SimulationView:
    """What the page shows."""

    source: str
    """Of the data."""
    machine: str
    nodes: int
    found: WhatIf
    tasks: Sequence[Task]
    num_learned: int
    """Tasks whose cost was learned from measured fits; that of the others is what their family says."""


def render_simulation(view: SimulationView) -> str:
    """The page of a what-if, the same bytes for the same view."""
    fits = fits_table(view.found.chosen, view.tasks, view.nodes)
    about: dict[str, Any] = {name: getattr(view, name) for name in ("source", "machine", "nodes", "num_learned")}
    return (
        environment()
        .get_template("simulate.jinja")
        .render(
            about,
            num_fits=len(view.tasks),
            chosen=view.found.chosen,
            tables=[
                ("policies", "Other orders", "Order", bars(view.found.policies)),
                ("machines", "Other machines", "Machine", bars(view.found.machines)),
            ],
            timeline=timeline(fits, view.found.chosen.lower_bound_s),
            colours=family_colours(fits),
        )
    )


def bars(scenarios: Sequence[Scenario]) -> list[tuple[Scenario, float | None]]:
    """Each scenario with its length as a share of the longest; None where the plan cannot run."""
    longest_s = max((one.makespan_s for one in scenarios if one.makespan_s is not None), default=0.0)
    return [(one, None if one.makespan_s is None else one.makespan_s / (longest_s or 1.0)) for one in scenarios]


def fits_table(done: Simulation, tasks: Sequence[Task], nodes: int) -> pl.DataFrame:
    """The simulated fits with the columns of `RunView.fits` that a timeline reads."""
    by_key = {task.key: task for task in tasks}
    rows = [_row(by_key[placed.key], placed.node, nodes) | _times(placed) for placed in done.timeline]
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(task: Task, node: int, nodes: int) -> dict[str, Any]:
    return {
        "key": task.key,
        "label": task.label,
        "family": task.family,
        "lane": task.lane if nodes == 1 else f"node {node + 1:0{len(str(nodes))}} {task.lane}",
        "worker": "simulated",
        "status": "ok",
        "device": task.engine,
        "cpu_s": task.work_s,
        "peak_memory_bytes": task.memory_bytes,
    }


def _times(placed: Placed) -> dict[str, Any]:
    return {"threads": placed.threads, "start_s": placed.start_s, "end_s": placed.end_s}
