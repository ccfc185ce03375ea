"""Machines come and go, as Ray tells of them."""

from collections.abc import Callable
from typing import Any

import pytest

from raytrain.cluster import watch as watch_module
from raytrain.cluster.nodes import Counted, usable
from raytrain.cluster.watch import NodeWatch
from raytrain.schedule.words import CapacityChanged

COUNTS = Counted(pcores=True, thermal=False, slot="mps")


def ray_node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    offer = {"CPU": 2, "pcore": 2, "memory": 10} | resources
    return {"NodeID": name, "NodeManagerHostname": f"{name}.local", "Alive": alive, "Resources": offer}


A, B, NO_CORES = ray_node("a"), ray_node("b", CPU=4, pcore=4, mps=1, memory=30), ray_node("c", pcore=0)
BOTH = CapacityChanged(at=0.0, cores=(2, 4), slots=(0, 1), memory_bytes=(10, 30))
ONE = CapacityChanged(at=0.0, cores=(2,), slots=(0,), memory_bytes=(10,))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """What is told at each look, two seconds apart, as the nodes come and go."""

    def tell(*found: list[dict[str, Any]], least: int = 1, patience_s: float = 0.0) -> list[Any]:
        watch = NodeWatch(usable(found[0], COUNTS), COUNTS, least, patience_s)
        told = []
        for number, nodes in enumerate(found):
            monkeypatch.setattr(watch_module.ray, "nodes", lambda nodes=nodes: nodes)
            events = list(watch.look(2.0 * number))
            assert all(event.at == 2.0 * number for event in events)
            told.append([(one.cores, one.slots, one.memory_bytes) for one in events])
        return told

    return tell


def as_told(event: CapacityChanged) -> list[Any]:
    return [(event.cores, event.slots, event.memory_bytes)]


def test_a_loss_and_a_return_are_told_once_each(looks: Callable[..., list[Any]]) -> None:
    gone = ray_node("b", alive=False)
    assert looks([A, B], [A, gone], [A, gone], [A, B]) == [[], as_told(ONE), [], as_told(BOTH)]


def test_a_node_without_cores_for_fits_is_nothing_new(looks: Callable[..., list[Any]]) -> None:
    assert looks([A, B], [A, B, NO_CORES]) == [[], []]


def test_as_many_as_the_run_must_have_are_waited_for_and_no_longer_than_it_may(
    looks: Callable[..., list[Any]],
) -> None:
    assert looks([A, B], [A], [A], [A, B], least=2, patience_s=60.0) == [[], [], [], []]
    assert looks([A, B], [A], [A], [A], least=2, patience_s=4.0) == [[], [], [], as_told(ONE)]


def test_without_any_machine_the_last_word_is_that_there_is_none(looks: Callable[..., list[Any]]) -> None:
    assert looks([A], [], [], patience_s=2.0) == [[], [], [((), (), ())]]


def test_it_does_not_look_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(watch_module.ray, "nodes", lambda: asked.append(1) or [A])
    watch = NodeWatch(usable([A], COUNTS), COUNTS, 1, 0.0)
    for tenth in range(40):
        assert not list(watch.look(tenth / 10))
    assert len(asked) == 2
