"""What fits are expected to take, without Ray."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.cluster.experience import FORECAST_S, learned_costs
from raytrain.cluster.runner import ORDER_S, expect
from raytrain.config import load
from raytrain.pipeline import Prepared, prepare
from raytrain.run_config import RunConfig
from raytrain.schedule.costs import CostModel
from raytrain.work.plan import PlannedFit
from raytrain.work.store import ResultStore

COST = {"wall_s": 2.0, "cpu_s": 2.0, "peak_memory_bytes": 2**29, "threads": 1, "device": "cpu"}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "taught")


@pytest.fixture
def run(tiny: list[str]) -> Prepared:
    """naive, har, ridge and their mixture, planned and not run."""
    options = ["--families", "naive,har,ridge,ensemble", "--params.ensemble.members", '["har", "ridge"]']
    return prepare(load(RunConfig, [Path(tiny[1])], [*tiny[2:], *options]))


def keep(store: ResultStore, fit: PlannedFit, **facts: Any) -> None:
    """A result as a worker leaves it behind."""
    result = {
        "spec": json.loads(json.dumps(fit.spec.to_dict())),
        "cost": COST,
        "spent": COST,
        "prior": dataclasses.asdict(fit.prior),
        "cut_short": False,
    }
    store.write(fit.spec.key, pl.DataFrame({"q0.5": [0.0]}), result | facts)


def of(run: Prepared, family: str) -> list[PlannedFit]:
    return [fit for fit in run.plan.fits if fit.spec.family == family]


def test_before_anything_was_measured_priors_are_expected(run: Prepared, store: ResultStore) -> None:
    plan = expect(run.plan.fits, store, learned_costs(store), 60.0)
    for fit, task in zip(run.plan.fits, plan.tasks, strict=True):
        assert (task.key, task.work_s, task.memory_bytes) == (fit.spec.key, fit.prior.work_s, fit.prior.memory_bytes)
        assert plan.seconds(task, 1) == pytest.approx(fit.prior.work_s + ORDER_S)


def test_what_one_fold_took_is_expected_of_the_next(run: Prepared, store: ResultStore) -> None:
    first, *others = of(run, "har")
    keep(store, first)
    expected = expect(others, store, learned_costs(store), 60.0)
    assert all(1.0 < task.work_s < 2.5 for task in expected.tasks)
    assert all(task.memory_bytes > 0.9 * 2**29 for task in expected.tasks)
    assert all(cost.num_records == 1 for cost in expected.costs.values())
    (unknown,) = expect(of(run, "ridge")[:1], store, learned_costs(store), 60.0).costs.values()
    assert unknown.num_records == 0


def test_a_time_in_which_the_machine_slept_teaches_nothing(run: Prepared, store: ResultStore) -> None:
    first, other = of(run, "har")[:2]
    keep(store, first, cost=COST | {"wall_s": 9000.0, "slept": True})
    assert expect([other], store, learned_costs(store), 60.0).tasks[0].work_s == other.prior.work_s


def test_a_forecast_by_a_kept_model_teaches_nothing_about_training(run: Prepared, store: ResultStore) -> None:
    first, other = of(run, "har")[:2]
    keep(store, first, cost=COST | {"cpu_s": 500.0}, spent=COST | {"cpu_s": 0.01}, reused_model=True)
    assert expect([other], store, learned_costs(store), 60.0).tasks[0].work_s == other.prior.work_s


def test_a_fit_whose_model_is_kept_only_forecasts(run: Prepared, store: ResultStore) -> None:
    fit = of(run, "har")[0]
    key = fit.spec.train_key
    (store.root / "models" / key[:2] / f"{key}-pooled").mkdir(parents=True)
    assert expect([fit], store, CostModel(), 60.0).tasks[0].work_s == FORECAST_S


def test_a_budget_bounds_what_is_expected(run: Prepared, store: ResultStore) -> None:
    fit = of(run, "har")[0]
    hurried = dataclasses.replace(fit, spec=dataclasses.replace(fit.spec, budget_s=0.05))
    assert expect([hurried], store, CostModel(), 60.0).tasks[0].work_s == 0.05


def test_a_short_fit_is_not_spread_over_threads(run: Prepared, store: ResultStore) -> None:
    fit = of(run, "har")[0]
    short = dataclasses.replace(fit, needs=dataclasses.replace(fit.needs, max_threads=8))
    long = dataclasses.replace(fit, needs=dataclasses.replace(fit.needs, max_threads=8, work=99.0))
    threads = [expect([one], store, CostModel(), 60.0).tasks[0].max_threads for one in (short, long)]
    assert threads == [1, 8]


def test_the_yardstick_goes_first_and_fits_of_a_fold_together(run: Prepared, store: ResultStore) -> None:
    tasks = expect(run.plan.fits, store, CostModel(), 60.0).tasks
    assert {task.priority for task in tasks if task.family == "naive"} == {2}
    assert {task.priority for task in tasks if task.family == "ridge"} <= {0, 1}
    assert {task.group for task in tasks} == {f"native {fit.spec.fold.name}" for fit in run.plan.fits}


def test_what_is_stored_is_not_waited_for(run: Prepared, store: ResultStore) -> None:
    tasks = {task.key: task for task in expect(run.plan.fits, store, CostModel(), 60.0).tasks}
    mixture = next(fit for fit in of(run, "ensemble") if fit.spec.members)
    assert tasks[mixture.spec.key].after == mixture.spec.members
    assert expect([mixture], store, CostModel(), 60.0).tasks[0].after == ()
