"""How long a run will take, said before it starts."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from raytrain.cluster.runner import CLUSTER_START_S
from raytrain.config import load
from raytrain.pipeline import Prepared, estimate, plan_forecast, prepare
from raytrain.run_config import RunConfig
from raytrain.work.store import ResultStore

Make = Callable[..., Prepared]


@pytest.fixture
def make(tiny: list[str]) -> Make:
    """A run of a tree, a net and a mixture, planned and not run."""
    options = ["--families", "naive,har,lstm,mlp,ensemble", "--params.ensemble.members", '["naive", "har"]']
    return lambda *more: prepare(load(RunConfig, [Path(tiny[1])], [*tiny[2:], *options, *more]))


def test_all_that_a_run_does_is_in_it(make: Make) -> None:
    run = make()
    simulation, num_left = estimate(run)
    assert num_left == len(run.plan.fits)
    dearest = plan_forecast(run, {target.name: "lstm" for target in run.config.targets}).fits
    assert {placed.key for placed in simulation.timeline} == {fit.spec.key for fit in (*run.plan.fits, *dearest)}
    ends = [placed.end_s for placed in simulation.timeline]
    assert simulation.makespan_s == max(ends) + CLUSTER_START_S
    walk = {fit.spec.key for fit in run.plan.fits}
    end_of_walk = max(placed.end_s for placed in simulation.timeline if placed.key in walk)
    assert all(placed.start_s >= end_of_walk for placed in simulation.timeline if placed.key not in walk)


def test_one_kind_of_engine_after_the_other_takes_longer(make: Make) -> None:
    together, in_turn = (estimate(make("--mode", mode))[0] for mode in ("overlapped", "two-stage"))
    assert in_turn.makespan_s > together.makespan_s
    assert {placed.key for placed in in_turn.timeline} == {placed.key for placed in together.timeline}


def test_what_is_stored_takes_no_time(make: Make) -> None:
    run = make()
    store = ResultStore(run.config.store)
    table = pl.DataFrame({"q0.5": [0.0]})
    for fit in run.plan.fits:
        store.write(fit.spec.key, table, {})
    simulation, num_left = estimate(run)
    assert num_left == 0 and simulation.makespan_s > CLUSTER_START_S, "the forecast is to come"
    for fit in plan_forecast(run, {target.name: "har" for target in run.config.targets}).fits:
        store.write(fit.spec.key, table, {})
    assert estimate(run)[0].makespan_s == 0.0, "what was forecast from these rows is what is forecast again"
