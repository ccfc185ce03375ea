from dataclasses import fields
from itertools import pairwise

import pytest

from raytrain.schedule.checks import checked
from raytrain.schedule.words import CannotFit, Capacity, ScheduleError, Settings


def test_tasks_come_back_by_key_in_order(make_task, make_capacity):
    tasks = [make_task("b"), make_task("a", after=("b",))]
    assert list(checked(tasks, make_capacity()).items()) == [("b", tasks[0]), ("a", tasks[1])]


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"work_s": float("nan")}, "finite.*got nan for fit a"),
        ({"work_s": -1.0}, "at least 0 s, got -1"),
        ({"memory_bytes": -1}, "at least 0 bytes, got -1"),
        ({"max_threads": 0}, "`max_threads` must be at least 1, got 0"),
        ({"deadline_s": 0.0}, "above 0 s, got 0"),
        ({"deadline_s": float("nan")}, "above 0 s, got nan"),
        ({"after": ("aa",)}, "waits for `aa`, which is not planned; did you mean `a`"),
        ({"after": ("a",)}, "fit a -> fit a"),
    ],
)
def test_numbers_and_dependencies_without_sense_are_refused(make_task, make_capacity, wrong, rule):
    with pytest.raises(ScheduleError, match=rule):
        checked([make_task("a", **wrong)], make_capacity())


def test_a_key_twice_is_refused(make_task, make_capacity):
    with pytest.raises(ScheduleError, match=r"the key a \(fit a\) twice"):
        checked([make_task("a"), make_task("a")], make_capacity())


def test_a_circle_is_refused_in_the_order_of_waiting(make_task, make_capacity):
    tasks = [make_task("a", after=("b",)), make_task("b", after=("c",)), make_task("c", after=("a",)), make_task("d")]
    with pytest.raises(ScheduleError) as refused:
        checked(tasks, make_capacity())
    circle = str(refused.value).split("got ")[1].split(";")[0]
    waits = {"fit a": "fit b", "fit b": "fit c", "fit c": "fit a"}
    steps = circle.split(" -> ")
    assert len(steps) == 4
    assert all(waits[one] == other for one, other in pairwise(steps))


def test_a_task_larger_than_the_memory_is_refused_with_both_numbers(make_task, make_capacity):
    with pytest.raises(CannotFit, match=r"fit a needs 3\.00 GiB of memory, the machine gives 2\.00 GiB"):
        checked([make_task("a", memory_bytes=3 * 2**30)], make_capacity(memory_bytes=2 * 2**30))


def test_a_slot_task_needs_a_slot_and_its_host_cores(make_task, make_capacity):
    with pytest.raises(CannotFit, match="0 slots"):
        checked([make_task("a", lane="slot")], make_capacity(slots=0))
    with pytest.raises(CannotFit, match=r"takes 3 cores .* has 2"):
        checked([make_task("a", lane="slot")], make_capacity(cores=2, slot_host_cores=3))


@pytest.mark.parametrize("wrong", [{"cores": 0}, {"slots": -1}, {"memory_bytes": 0}, {"slot_host_cores": -1}])
def test_a_machine_without_sense_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ScheduleError, match=f"`{name}` of the scheduler must be at least"):
        Capacity(**{"cores": 1, "slots": 0, "memory_bytes": 1, "slot_host_cores": 1} | wrong)


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_no_patience_at_all_is_refused(name):
    with pytest.raises(ScheduleError, match=f"`{name}` of the scheduler must be at least 1, got 0"):
        Settings(**{name: 0})
