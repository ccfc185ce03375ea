from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raytrain.schedule.policy import POLICIES, Offer, Policy, chains, decided_early
from raytrain.schedule.simulate import simulate


def order(tasks, policy=None):
    return [task.key for task in sorted(tasks, key=(policy or Policy(tasks)).rank)]


def test_important_before_long_before_short_and_groups_together(make_task):
    tasks = [
        make_task("short", work_s=1),
        make_task("fold 2", work_s=5, group="2"),
        make_task("fold 1", work_s=5, group="1"),
        make_task("important", work_s=0.1, priority=1),
        make_task("fold 1 too", work_s=5, group="1"),
    ]
    assert order(tasks) == ["important", "fold 1", "fold 1 too", "fold 2", "short"]


def test_fits_of_about_the_same_length_go_group_by_group(make_task):
    works = {"a": (5.5, 4.2, 1.0), "b": (5.0, 4.4, 1.1)}
    tasks = [make_task(f"{group}{work}", work_s=work, group=group) for group in works for work in works[group]]
    assert order(tasks) == ["a5.5", "a4.2", "b5.0", "b4.4", "a1.0", "b1.1"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(work_s=st.floats(1e-6, 1e9), times=st.floats(1.4143, 100))
def test_what_is_half_as_long_again_always_goes_first(make_task, work_s, times):
    tasks = [make_task("short", work_s=work_s, group="a"), make_task("long", work_s=work_s * times, group="b")]
    assert order(tasks) == ["long", "short"]


def test_nothing_to_do_goes_last(make_task):
    assert order([make_task("nothing", work_s=0.0), make_task("little", work_s=1e-9)]) == ["little", "nothing"]


def test_what_others_wait_for_counts_as_long_as_its_chain(make_task):
    tasks = [
        make_task("member", work_s=1),
        make_task("other", work_s=5),
        make_task("middle", work_s=4, after=("member",)),
        make_task("last", work_s=2, after=("middle", "other")),
    ]
    assert chains(tasks) == {"member": 7.0, "middle": 6.0, "other": 7.0, "last": 2.0}
    assert chains([make_task("alone", work_s=3)]) == {}
    assert order(tasks)[0] in ("member", "other") and order(tasks)[-1] == "last"


def test_a_chain_that_begins_early_ends_early(make_task, make_capacity):
    chain = [make_task(f"c{n}", work_s=3, after=(f"c{n - 1}",) if n else ()) for n in range(4)]
    tasks = [*(make_task(f"bulk{n}", work_s=4) for n in range(3)), *chain]
    assert simulate(tasks, make_capacity(2)).makespan_s == 12.0
    assert simulate(tasks, make_capacity(2), policy=POLICIES["first come"](tasks)).makespan_s > 12.0


@pytest.mark.parametrize(
    ("offers", "engine"),
    [
        ([Offer("torch", 0, 5.0, 0), Offer("keras", 0, 6.0, 0)], "keras"),
        ([Offer("torch", 1, 5.0, 0), Offer("keras", 0, 6.0, 0)], "torch"),
        ([Offer("torch", 0, 5.0, 0), Offer("keras", 0, 6.0, 1)], "torch"),
    ],
    ids=["most work", "most important", "a second slot for the work that is left"],
)
def test_engine_of_a_new_slot(offers, engine):
    assert Policy().engine(offers) == engine


@pytest.mark.parametrize(
    ("max_threads", "free", "ready", "threads"),
    [(8, 1, 100, 1), (8, 4, 4, 1), (8, 9, 4, 2), (2, 8, 1, 2), (8, 8, 1, 8), (1, 8, 1, 1)],
)
def test_one_thread_in_bulk_and_wide_at_the_tail(make_task, max_threads, free, ready, threads):
    assert Policy().threads(make_task("a", max_threads=max_threads), free, ready) == threads


def test_the_policies_that_are_compared_differ(make_task):
    tasks = [make_task(key, work_s=work_s, max_threads=4) for key, work_s in (("a", 2), ("b", 9), ("c", 1))]
    orders = {name: order(tasks, policy(tasks)) for name, policy in POLICIES.items()}
    assert orders == {
        "longest first": ["b", "a", "c"],
        "first come": ["a", "b", "c"],
        "shortest first": ["c", "a", "b"],
        "widest": ["b", "a", "c"],
    }
    assert {name: policy().threads(tasks[0], 4, 3) for name, policy in POLICIES.items()}["widest"] == 4
    assert next(iter(POLICIES.values())) is Policy


@pytest.mark.parametrize(("bulk_s", "early"), [(100.0, True), (10.0, False)], ids=["cheap", "a large part"])
def test_what_decides_about_the_mixed_forecast_goes_first_when_it_is_cheap(make_task, bulk_s, early):
    tasks = [
        make_task("bulk", work_s=bulk_s),
        make_task("member", work_s=2),
        make_task("mixed", work_s=1, after=("member",)),
    ]
    found = {task.key: task.priority for task in decided_early(tasks, ())}
    assert found == {"bulk": 0, "member": int(early), "mixed": int(early)}


def test_what_all_are_measured_against_goes_first_of_all(make_task):
    tasks = [make_task("long", work_s=9), replace(make_task("yardstick", work_s=1), family="naive")]
    found = decided_early(tasks, ("naive",))
    assert [task.priority for task in found] == [0, 2]
    assert decided_early(tasks, ()) == tasks
