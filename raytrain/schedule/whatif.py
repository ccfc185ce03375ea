"""The same plan on other machines and in other orders: what would it take?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raytrain.schedule.nodes import Starts
from raytrain.schedule.policy import POLICIES, Policy
from raytrain.schedule.simulate import Durations, Simulation, simulate
from raytrain.schedule.words import CannotFit, Capacity, Settings, Task

IN_STAGES = "longest first, one engine after the other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One line of the comparison."""

    name: str
    makespan_s: float | None
    """None when the plan cannot run so."""
    utilisation: float | None
    lower_bound_s: float | None
    bottleneck: str
    """What the lower bound comes from; or why the plan cannot run so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """A plan as it would run on an assumed machine, and beside it the same plan in other ways."""

    chosen: Simulation
    policies: tuple[Scenario, ...]
    """On the assumed machine; the first is the policy of runs."""
    machines: tuple[Scenario, ...]
    """With the policy of runs; the first is what is assumed, then one such machine where several are."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to run, and what is known of its cost."""

    tasks: Sequence[Task]
    stages: Sequence[Sequence[Task]]
    """The same tasks, one kind of engine after the other, for comparison."""
    durations: Durations
    starts: Starts
    settings: Settings
    nodes: int = 1


def what_if(question: Question, machine: str, machines: Mapping[str, Capacity]) -> WhatIf:
    """Answer for one machine, and compare.

    Args:
        question: what is to run.
        machine: the one that is assumed.
        machines: name -> what it gives to fits, `machine` among them.

    Raises:
        CannotFit: a fit needs more than the assumed machine has.
    """
    capacity = machines[machine]
    others = {name: one for name, one in machines.items() if name != machine}
    chosen = _simulate(question, question.tasks, capacity)
    mine, *policies = POLICIES
    return WhatIf(
        chosen=chosen,
        policies=(
            _scenario(mine, chosen),
            *(_scenario(name, _simulate(question, question.tasks, capacity, POLICIES[name])) for name in policies),
            _in_stages(question, capacity),
        ),
        machines=(
            _scenario(_name(machine, question.nodes), chosen),
            *([_on(machine, replace(question, nodes=1), capacity)] if question.nodes > 1 else []),
            *(_on(name, question, one) for name, one in others.items()),
        ),
    )


def _name(machine: str, nodes: int) -> str:
    return f"{nodes} x {machine}" if nodes > 1 else machine


def _simulate(
    question: Question, tasks: Sequence[Task], capacity: Capacity, policy: type[Policy] = Policy
) -> Simulation:
    return simulate(
        tasks,
        capacity,
        question.durations,
        policy=policy(tasks),
        settings=question.settings,
        nodes=question.nodes,
        starts=question.starts,
    )


def _scenario(name: str, done: Simulation) -> Scenario:
    return Scenario(
        name=name,
        makespan_s=done.makespan_s,
        utilisation=done.utilisation,
        lower_bound_s=done.lower_bound_s,
        bottleneck=done.bottleneck,
    )


def _on(machine: str, question: Question, capacity: Capacity) -> Scenario:
    name = _name(machine, question.nodes)
    try:
        return _scenario(name, _simulate(question, question.tasks, capacity))
    except CannotFit as error:
        return Scenario(name=name, makespan_s=None, utilisation=None, lower_bound_s=None, bottleneck=str(error))


def _in_stages(question: Question, capacity: Capacity) -> Scenario:
    """One stage after the other; what a stage waits for is done before it begins."""
    done = []
    for stage in question.stages:
        here = {task.key for task in stage}
        alone = [replace(task, after=tuple(key for key in task.after if key in here)) for task in stage]
        done.append(_simulate(question, alone, capacity))
    makespan_s = sum(one.makespan_s for one in done)
    used_s = sum(one.utilisation * one.makespan_s for one in done)
    return Scenario(
        name=IN_STAGES,
        makespan_s=makespan_s,
        utilisation=used_s / makespan_s if makespan_s else 0.0,
        lower_bound_s=sum(one.lower_bound_s for one in done),
        bottleneck=max(done, key=lambda one: one.makespan_s).bottleneck if done else "cores",
    )
