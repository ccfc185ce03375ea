import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.schedule.policy import Policy
from raytrain.schedule.simulate import lower_bounds, simulate, simulate_in_turn
from raytrain.schedule.words import CannotFit, Capacity, Settings, Task


def _task(key, work_s, lane="cores", **fields):
    engine = "torch" if lane == "slot" else "native"
    return Task(
        key=str(key),
        label=str(key),
        family="f",
        engine=engine,
        lane=lane,
        work_s=float(work_s),
        **{"memory_bytes": 1} | fields,
    )


def _capacity(cores, slots=1, memory_bytes=1000):
    return Capacity(cores=cores, slots=slots, memory_bytes=memory_bytes)


@st.composite
def plans(draw):
    sizes = st.tuples(st.integers(0, 20), st.sampled_from(["cores", "slot"]), st.integers(0, 50), st.integers(1, 4))
    tasks = []
    for number, (work_s, lane, memory_bytes, max_threads) in enumerate(draw(st.lists(sizes, max_size=25))):
        after = draw(st.sets(st.sampled_from(range(number)), max_size=2)) if number else ()
        fields = {"memory_bytes": memory_bytes, "max_threads": max_threads, "after": tuple(map(str, sorted(after)))}
        tasks.append(_task(number, work_s, lane, **fields))
    return tasks


@settings(deadline=None)
@given(plans(), st.integers(1, 6), st.integers(1, 3), st.integers(50, 200))
def test_every_task_runs_once_within_the_machine_and_no_faster_than_the_bound(tasks, cores, slots, memory_bytes):
    capacity = _capacity(cores, slots, memory_bytes)
    done = simulate(tasks, capacity)
    assert sorted(placed.key for placed in done.timeline) == sorted(task.key for task in tasks)
    assert done.makespan_s >= done.lower_bound_s - 1e-9
    assert 0 <= done.utilisation <= 1 + 1e-9
    by_key = {placed.key: placed for placed in done.timeline}
    for task in tasks:
        assert all(by_key[before].end_s <= by_key[task.key].start_s for before in task.after)
    for moment in {placed.start_s for placed in done.timeline}:
        now = [placed for placed in done.timeline if placed.start_s <= moment < placed.end_s]
        assert sum(placed.threads for placed in now) <= cores
        in_slots = [placed.slot for placed in now if placed.lane == "slot"]
        assert len(in_slots) == len(set(in_slots)) <= slots


def test_bulk_work_comes_within_a_twentieth_of_the_bound():
    done = simulate([_task(n, 10) for n in range(200)], _capacity(8))
    assert done.bottleneck == "cores"
    assert done.lower_bound_s == 250.0
    assert done.makespan_s <= 1.05 * done.lower_bound_s
    assert done.utilisation >= 0.95


def test_lanes_that_overlap_beat_one_after_the_other():
    slot = [_task(f"s{n}", 10, "slot") for n in range(20)]
    cores = [_task(f"c{n}", 5) for n in range(40)]
    both = simulate([*slot, *cores], _capacity(2)).makespan_s
    stages = [simulate(tasks, _capacity(2)).makespan_s for tasks in (slot, cores)]
    assert stages == [200.0, 100.0]
    assert both <= 1.05 * max(stages)


def test_longest_first_beats_shortest_first():
    class ShortestFirst(Policy):
        def rank(self, task):
            return (0, 0, "", task.work_s)

    tasks = [*(_task(n, 1) for n in range(4)), _task("long", 4)]
    assert simulate(tasks, _capacity(2)).makespan_s == 4.0
    assert simulate(tasks, _capacity(2), policy=ShortestFirst()).makespan_s == 6.0


def test_the_tail_is_run_wide():
    tasks = [_task("a", 8, max_threads=4)]
    done = simulate(tasks, _capacity(4))
    assert (done.makespan_s, done.timeline[0].threads, done.utilisation) == (2.0, 4, 1.0)


def test_durations_may_differ_from_what_was_predicted():
    done = simulate([_task("a", 1), _task("b", 1)], _capacity(1), lambda task, threads: 7.0 if task.key == "a" else 2.0)
    assert done.makespan_s == done.lower_bound_s == 9.0


@pytest.mark.parametrize(
    ("tasks", "bottleneck", "bound_s"),
    [
        ([_task(n, 2) for n in range(8)], "cores", 4.0),
        ([_task(n, 2, "slot") for n in range(8)], "slot", 16.0),
        ([_task("long", 9), _task("short", 2)], "longest fit", 9.0),
        ([_task("a", 3), _task("b", 4, after=("a",)), _task("c", 1, after=("a",))], "chain", 7.0),
        ([_task(n, 2, memory_bytes=900) for n in range(3)], "memory", 5.4),
    ],
    ids=["cores", "slot", "longest fit", "chain", "memory"],
)
def test_what_holds_a_plan_up(tasks, bottleneck, bound_s):
    done = simulate(tasks, _capacity(4))
    assert (done.bottleneck, done.lower_bound_s) == (bottleneck, pytest.approx(bound_s))
    assert max(lower_bounds(tasks, _capacity(4)).values()) == done.lower_bound_s


def test_no_tasks_take_no_time():
    done = simulate([], _capacity(2))
    assert (done.makespan_s, done.utilisation, done.lower_bound_s, done.timeline) == (0.0, 0.0, 0.0, [])


def test_the_cost_of_a_fit_does_not_grow_with_their_number():
    def seconds_per_fit(num_fits):
        tasks = [_task(n, 1 + n % 97, "slot" if n % 10 == 0 else "cores", memory_bytes=n % 13) for n in range(num_fits)]
        begin = time.process_time()
        simulate(tasks, _capacity(64, slots=4))
        return (time.process_time() - begin) / num_fits

    few = min(seconds_per_fit(1_000) for _ in range(3))
    assert seconds_per_fit(50_000) < 5 * few


@settings(deadline=None)
@given(plans(), st.integers(1, 4), st.integers(1, 4))
def test_no_fit_spans_nodes_and_no_node_holds_more_than_it_has(tasks, cores, nodes):
    capacity = _capacity(cores, 1, 60)
    done = simulate(tasks, capacity, nodes=nodes)
    by_key = {task.key: task for task in tasks}
    assert sorted(placed.key for placed in done.timeline) == sorted(by_key)
    for moment in {placed.start_s for placed in done.timeline}:
        now = [placed for placed in done.timeline if placed.start_s <= moment < placed.end_s]
        for node in range(nodes):
            here = [placed for placed in now if placed.node == node]
            assert sum(placed.threads for placed in here) <= cores
            assert sum(by_key[placed.key].memory_bytes for placed in here) <= 60
            assert sum(placed.lane == "slot" for placed in here) <= 1


@settings(deadline=None)
@given(plans(), st.integers(1, 4))
def test_one_node_is_the_machine(tasks, cores):
    capacity = _capacity(cores, 1, 60)
    assert simulate(tasks, capacity, nodes=1) == simulate(tasks, capacity)


def test_eight_nodes_are_eight_times_as_fast_at_bulk_work():
    tasks = [_task(n, 10) for n in range(640)]
    done = [simulate(tasks, _capacity(4), nodes=nodes) for nodes in (1, 8)]
    assert done[0].makespan_s == 8 * done[1].makespan_s
    assert {placed.node for placed in done[1].timeline} == set(range(8))


def test_two_halves_are_no_whole():
    wide = _task("wide", 8, max_threads=4)
    assert simulate([wide], _capacity(4)).makespan_s == 2.0
    assert simulate([wide], _capacity(2), nodes=2).makespan_s == 4.0
    with pytest.raises(CannotFit, match=r"the machine gives 0\.00 GiB"):
        simulate([_task("large", 1, memory_bytes=1500)], _capacity(2), nodes=2)


def test_a_fit_waits_for_a_node_although_the_cluster_has_room():
    tasks = [*(_task(f"small{n}", 10, memory_bytes=600) for n in range(2)), _task("large", 5, memory_bytes=700)]
    done = simulate(tasks, _capacity(2), nodes=2)
    assert {placed.key: placed.start_s for placed in done.timeline}["large"] == 10.0
    assert simulate(tasks, _capacity(4, memory_bytes=2000)).makespan_s == 10.0


def test_a_new_process_makes_its_first_fit_late_and_no_other():
    tasks = [_task(n, 10) for n in range(4)]
    done = simulate(tasks, _capacity(2), starts=lambda engine: 3.0 if engine == "native" else 99.0)
    assert done.makespan_s == 23.0
    assert sorted(placed.start_s for placed in done.timeline) == [3.0, 3.0, 13.0, 13.0]


def test_the_slot_pays_for_every_process_that_it_gets():
    tasks = [_task(n, 10, "slot") for n in range(4)]
    done = simulate(tasks, _capacity(2), settings=Settings(recycle_after=2), starts=lambda _: 3.0)
    assert done.makespan_s == 46.0


def test_sets_in_turn_wait_for_each_other_and_share_processes():
    sets = [[_task("a", 10), _task("b", 4)], [], [_task("c", 5), _task("d", 20, "slot")]]
    done = simulate_in_turn(sets, _capacity(2), starts=lambda _: 3.0)
    ends = {placed.key: (placed.start_s, placed.end_s) for placed in done.timeline}
    assert ends == {"a": (3.0, 13.0), "b": (3.0, 7.0), "c": (13.0, 18.0), "d": (16.0, 36.0)}
    assert (done.makespan_s, done.lower_bound_s, done.bottleneck) == (36.0, 30.0, "slot")
    assert done.utilisation == pytest.approx((14 + 25) / (2 * 36))


def test_nothing_in_turn_takes_no_time():
    assert simulate_in_turn([], _capacity(2)).makespan_s == simulate_in_turn([[]], _capacity(2)).makespan_s == 0.0


def test_another_width_is_another_process():
    tasks = [_task("bulk1", 10), _task("bulk2", 10), _task("tail", 4, max_threads=2, after=("bulk1", "bulk2"))]
    done = simulate(tasks, _capacity(2), starts=lambda _: 3.0)
    assert done.makespan_s == 3.0 + 10.0 + 3.0 + 2.0
