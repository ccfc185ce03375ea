"""What runs in a worker, without Ray: the guard, and failures as rows."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from raytrain import families
from raytrain.cluster.worker import Order, Slot, advice, execute
from raytrain.config import load
from raytrain.engines.process import ENGINE_VARIABLE
from raytrain.errors import FitError, WrongEngine
from raytrain.pipeline import prepare
from raytrain.run_config import RunConfig
from raytrain.work.store import ResultStore


@pytest.fixture(autouse=True)
def same_umask() -> object:
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def order(tiny: list[str], tmp_path: Path) -> Order:
    """A naive fit that is ready to run."""
    run = prepare(load(RunConfig, [Path(tiny[1])], [*tiny[2:], "--families", "naive"]))
    fit = run.plan.fits[0]
    store = tmp_path / "store"
    dataset = run.dataset.save(store / "prepared")
    return Order(spec=fit.spec, engine="native", threads=1, dataset=dataset, store=store, prior=fit.prior)


def test_a_fit_is_run_and_kept(order: Order) -> None:
    outcome = execute(order)
    assert outcome.status == "ok"
    assert outcome.cost is not None
    assert outcome.worker.endswith(f":{os.getpid()}")
    store = ResultStore(order.store)
    store.verify(order.spec.key)
    facts = store.result(order.spec.key)
    assert facts["prior"]["work_s"] == order.prior.work_s
    assert list((order.store / "inflight").iterdir()) == []


def test_a_process_of_another_engine_refuses(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "torch")
    with pytest.raises(WrongEngine, match="started for torch"):
        execute(order)
    with pytest.raises(WrongEngine, match="started for torch"):
        Slot("native")


def test_the_slot_refuses_a_fit_of_another_engine(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "torch")
    with pytest.raises(WrongEngine, match="not for native"):
        Slot("torch").execute(order)


def test_what_a_fit_raises_becomes_a_row(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise FitError("the rows say nothing")

    monkeypatch.setattr("raytrain.families.naive.Naive.fit", fail)
    outcome = execute(order)
    assert outcome.status == "error"
    assert outcome.failure is not None
    assert (outcome.failure.phase, outcome.failure.exception) == ("fit", "FitError: the rows say nothing")
    assert outcome.failure.memory_bytes is not None
    assert "fail" in outcome.failure.trace
    assert not ResultStore(order.store).has(order.spec.key)


@pytest.mark.parametrize("name", ["raytrain", "numpy"])
def test_a_node_with_another_library_is_refused(order: Order, name: str) -> None:
    theirs = {"version": "0.0.9"} if name == "raytrain" else {}
    spec = order.spec if theirs else replace(order.spec, packages=(("numpy", "0.0.9"),))
    outcome = execute(replace(order, spec=spec, **theirs))
    assert outcome.status == "error"
    assert outcome.failure is not None
    assert f"every node must have {name} 0.0.9, as the driver has" in outcome.failure.exception


def test_running_out_of_memory_is_told_apart(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr("raytrain.families.naive.Naive.fit", fail)
    outcome = execute(order)
    assert outcome.status == "oom"
    assert outcome.failure is not None
    assert "less" in outcome.failure.advice


def test_a_stopped_fit_keeps_nothing(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.work.inflight.Inflight.should_stop", lambda self: True)
    naive = families.get("naive")
    fit = naive.fit
    monkeypatch.setattr(naive, "fit", lambda self, data, context: context.should_stop() and fit(self, data, context))
    assert execute(order).status == "stopped"
    assert not ResultStore(order.store).has(order.spec.key)


def test_advice_names_a_way_out_for_every_error() -> None:
    assert "raytrain[all]" in advice(ModuleNotFoundError("No module named 'torch'"))
    assert advice(ValueError("x"))
