import pytest

from raytrain.schedule.nodes import Nodes, at_once
from raytrain.schedule.words import Start


@pytest.fixture
def make_nodes(make_capacity):
    def make(number=2, starts=at_once, **capacity):
        return Nodes(make_capacity(**capacity), number, starts)

    return make


def seats(nodes, *asked):
    for start, task in asked:
        nodes.start(start, task)
    return {start.key: seat for start, seat in nodes.seats()}


def on_cores(task, threads=1):
    return Start(task.key, "cores", task.engine, threads), task


def in_slot(task, slot=0):
    return Start(task.key, "slot", task.engine, 1, slot), task


def test_the_emptiest_node_is_filled_first(make_nodes, make_task):
    nodes = make_nodes(cores=3)
    found = seats(nodes, *(on_cores(make_task(key), threads) for key, threads in (("a", 2), ("b", 1), ("c", 1))))
    assert {key: seat.node for key, seat in found.items()} == {"a": 0, "b": 1, "c": 1}


def test_what_finds_no_room_waits_and_may_be_passed(make_nodes, make_task):
    nodes = make_nodes(number=1, cores=2, memory_bytes=10)
    first, large = on_cores(make_task("first", memory_bytes=6)), on_cores(make_task("large", memory_bytes=7))
    assert seats(nodes, first, large, on_cores(make_task("small"))).keys() == {"first", "small"}
    assert seats(nodes) == {}
    nodes.end(*first, node=0)
    assert seats(nodes).keys() == {"large"}


def test_a_slot_stays_on_its_node_until_it_is_released(make_nodes, make_task):
    nodes = make_nodes(cores=1, slots=1)
    one, other = in_slot(make_task("one", lane="slot"), 0), in_slot(make_task("other", lane="slot"), 1)
    assert [seat.node for seat in seats(nodes, one, other).values()] == [0, 1]
    nodes.end(*one, node=0)
    assert seats(nodes, on_cores(make_task("core"))) == {}, "the host thread holds the core"
    assert seats(nodes, in_slot(make_task("again", lane="slot"), 0))["again"].node == 0
    nodes.end(*other, node=1)
    nodes.release(1)
    assert seats(nodes)["core"].node == 1


def test_a_process_is_used_again_and_goes_when_there_are_enough(make_nodes, make_task):
    nodes = make_nodes(number=1, cores=1, starts=lambda engine: {"native": 2.0, "torch": 3.0}[engine])

    def late(key, engine):
        begun = on_cores(make_task(key, engine=engine))
        seat = seats(nodes, begun)[key]
        nodes.end(*begun, node=seat.node)
        return seat.late_s

    assert [late("a", "native"), late("b", "native"), late("c", "torch"), late("d", "native")] == [2.0, 0.0, 3.0, 2.0]
