"""A machine of the cluster is lost or joins while fits run and wait."""

import pytest

from raytrain.schedule.machines import Machines
from raytrain.schedule.story import decisions, entry, opening, replay
from raytrain.schedule.words import (
    CapacityChanged,
    Failed,
    Finished,
    FitBegan,
    FitFailed,
    Kill,
    ReleaseSlot,
    Reserve,
    Skipped,
    Start,
    ThermalChanged,
)


def changed(*machines, at=1.0):
    """An event from (cores, slots, memory) of each machine."""
    cores, slots, memory_bytes = zip(*machines, strict=True) if machines else ((), (), ())
    return CapacityChanged(at=at, cores=cores, slots=slots, memory_bytes=memory_bytes)


def test_the_cores_of_a_lost_machine_are_not_filled_again(make_state, make_task, make_capacity, finish, started):
    state = make_state([make_task(key) for key in "abcd"], make_capacity(cores=2))
    assert started(state.start(0.0)) == ["a", "b"]
    assert state.handle(changed((1, 1, 50))) == []
    assert started(finish(state, "a")) == [], "b still holds the core that is left"
    assert started(finish(state, "b")) == ["c"]


def test_a_machine_that_joins_is_filled_at_once(make_state, make_task, make_capacity, started):
    state = make_state([make_task(key) for key in "abcd"], make_capacity(cores=1))
    assert started(state.start(0.0)) == ["a"]
    assert started(state.handle(changed((1, 1, 50), (2, 1, 50)))) == ["b", "c"]
    assert state.capacity.cores == 3


def test_what_no_machine_can_hold_any_more_has_failed_and_what_waits_for_it_is_skipped(
    make_state, make_task, make_capacity, finish
):
    tasks = [
        make_task("small", memory_bytes=10),
        make_task("large", memory_bytes=60),
        make_task("net", lane="slot"),
        make_task("mixed", after=("large", "small")),
    ]
    state = make_state(tasks, make_capacity(cores=1, slots=1, memory_bytes=100))
    state.start(0.0)
    assert set(state.running) == {"net"}
    state.handle(FitBegan(at=0.5, key="net"))
    # 50 and 50 are 100 together, and yet no room for 60.
    state.handle(changed((1, 0, 50), (1, 0, 50)))
    assert dict(state.failed) == {"large": Failed("room", 0)}
    assert dict(state.skipped) == {"mixed": Skipped("dependency", "large")}
    state.handle(FitFailed(at=2.0, key="net", reason="crash"))
    assert state.failed["net"] == Failed("room", 1), "it went with its machine, and there is no slot any more"
    finish(state, "small")
    assert state.done == {"small"} and not state.num_unfinished


def test_what_waits_in_the_cluster_for_a_lost_machine_is_called_back_narrower(make_state, make_task, make_capacity):
    state = make_state([make_task("a", max_threads=8)], make_capacity(cores=12))
    assert state.start(0.0) == [Start("a", "cores", "native", 8)]
    assert state.handle(changed((4, 0, 100))) == [Kill("a", "room")]
    again = state.handle(FitFailed(at=2.0, key="a", reason="room"))
    assert again == [Start("a", "cores", "native", 4)]
    assert state.handle(changed((2, 0, 100), at=3.0)) == [Kill("a", "room")]
    assert not state.failed, "to be called back is no try"


def test_what_has_begun_runs_somewhere_and_is_left_alone(make_state, make_task, make_capacity):
    state = make_state([make_task("a", max_threads=8)], make_capacity(cores=8))
    state.start(0.0)
    state.handle(FitBegan(at=0.5, key="a"))
    assert state.handle(changed((4, 0, 100))) == []


def test_without_any_machine_everything_ends(make_state, make_task, make_capacity):
    state = make_state([make_task("a"), make_task("b"), make_task("c", after=("a",))], make_capacity(cores=1))
    state.start(0.0)
    assert state.handle(changed()) == [Kill("a", "room")]
    assert state.handle(FitFailed(at=2.0, key="a", reason="room")) == [Finished()]
    assert set(state.failed) == {"a", "b", "c"} and not state.skipped


def test_a_fit_that_wanted_all_the_memory_wants_all_that_is_left(make_state, make_task, make_capacity, started):
    state = make_state([make_task("a", memory_bytes=10)], make_capacity(cores=1, memory_bytes=100))
    state.start(0.0)
    state.handle(changed((1, 0, 50)))
    again = state.handle(FitFailed(at=1.0, key="a", reason="oom"))
    assert started(again) == ["a"] and state.tasks["a"].memory_bytes == 50
    assert not state.handle(changed((1, 0, 20), at=3.0)), "ten are expected of it, so it fits"
    assert state.handle(changed((1, 0, 9), at=4.0)) == [Kill("a", "room")]


def test_a_slot_that_is_gone_is_not_held_again(make_state, make_task, make_capacity, finish):
    tasks = [make_task(key, lane="slot") for key in "abc"]
    state = make_state(tasks, make_capacity(cores=4, slots=2))
    state.start(0.0)
    state.handle(changed((4, 1, 100)))
    assert finish(state, "a") == [ReleaseSlot(0)]
    assert finish(state, "b") == [Start("c", "slot", "torch", 1, 1)]
    state.handle(changed((4, 1, 100), (4, 2, 100), at=2.0))
    assert state.capacity.slots == 3


def test_heat_keeps_its_share_of_what_is_left(make_state, make_task, make_capacity):
    state = make_state([make_task("a")], make_capacity(cores=8))
    assert Reserve(4) in state.handle(ThermalChanged(at=0.0, level="shrink"))
    assert state.handle(changed((2, 0, 100))) == [Reserve(1)]


def test_a_story_with_a_loss_is_decided_again_alike(make_state, make_task, make_capacity):
    state = make_state([make_task(key, max_threads=2) for key in "abc"], make_capacity(cores=4))
    lines = list(opening(state))
    for event in (changed((2, 0, 100)), changed((2, 0, 100), (1, 1, 10), at=2.0)):
        lines += entry(event, state.handle(event)).splitlines(keepends=True)
    assert replay(lines) == decisions(lines) != []


@pytest.mark.parametrize(
    ("lane", "threads", "memory_bytes", "holds"),
    [
        ("cores", 4, 10, True),
        ("cores", 5, 10, False),
        ("cores", 2, 30, True),
        ("cores", 4, 30, False),
        ("cores", 1, 31, False),
        ("slot", 1, 30, True),
        ("slot", 1, 31, False),
    ],
)
def test_a_machine_must_have_all_that_is_asked_at_once(make_task, lane, threads, memory_bytes, holds):
    machines = Machines(slot_host_cores=1)
    assert machines.holds(make_task("a", lane=lane, memory_bytes=memory_bytes), threads), "nobody said what there is"
    whole = machines.resize(changed((4, 0, 10), (2, 1, 30)))
    assert machines.holds(make_task("a", lane=lane, memory_bytes=memory_bytes), threads) is holds
    assert (whole.cores, whole.slots, whole.memory_bytes) == (6, 1, 40)
