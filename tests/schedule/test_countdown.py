"""The countdown beside the scheduler on a virtual clock, whose end is known."""

from heapq import heappop, heappush

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raytrain.schedule.countdown import Countdown
from raytrain.schedule.simulate import predicted
from raytrain.schedule.words import Capacity, FitBegan, FitFailed, FitFinished, Start


@pytest.fixture
def play(make_state):
    """Run tasks to their end, `slower` times as long as predicted; (time, what the countdown said) at every event."""

    def run(tasks, capacity, slower=1.0):
        state, countdown = make_state(tasks, capacity), Countdown(tasks)
        told, ends, now_s = [], [], 0.0
        instructions = state.start(0.0)
        while True:
            for start in instructions:
                if isinstance(start, Start):
                    state.handle(FitBegan(at=now_s, key=start.key))
                    wall_s = slower * predicted(state.tasks[start.key], start.threads)
                    heappush(ends, (now_s + wall_s, start.key, start.threads, wall_s))
            told.append((now_s, countdown.remaining_s(state, now_s)))
            if not ends:
                return told
            now_s, key, threads, wall_s = heappop(ends)
            countdown.finished(state.tasks[key], wall_s, threads)
            instructions = state.handle(
                FitFinished(at=now_s, key=key, wall_s=wall_s, cpu_s=wall_s * threads, peak_memory_bytes=1)
            )

    return run


def test_before_the_first_fit_ends_it_says_what_was_expected(play, make_task):
    told = play([make_task(str(n), work_s=10) for n in range(40)], Capacity(cores=4, slots=1, memory_bytes=100))
    assert told[0] == (0.0, 100.0)
    assert told[-1] == (100.0, 0.0)


@pytest.mark.parametrize("slower", [0.5, 1.0, 3.0])
def test_it_is_right_from_half_way_on_whatever_the_machine_makes_of_it(play, make_task, slower):
    tasks = [make_task(f"c{n}", work_s=1 + n % 7) for n in range(60)]
    tasks += [make_task(f"s{n}", work_s=4, lane="slot") for n in range(25)]
    told = play(tasks, Capacity(cores=3, slots=1, memory_bytes=1000), slower)
    end_s = told[-1][0]
    for now_s, left_s in told:
        if now_s > 0.5 * end_s:
            assert now_s + left_s == pytest.approx(end_s, rel=0.12)


def test_a_long_fit_is_waited_for(play, make_task):
    tasks = [make_task("long", work_s=50), *(make_task(str(n), work_s=1) for n in range(10))]
    told = play(tasks, Capacity(cores=2, slots=1, memory_bytes=100))
    assert told[0][1] == 50.0
    assert all(now_s + left_s == pytest.approx(50.0) for now_s, left_s in told)


def test_a_chain_is_waited_for(make_state, make_task):
    tasks = [make_task(str(n), work_s=5, after=(str(n - 1),) if n else ()) for n in range(4)]
    state = make_state(tasks, Capacity(cores=8, slots=1, memory_bytes=100))
    assert Countdown(tasks).remaining_s(state, 0.0) == 20.0


def test_time_passes_while_nothing_ends(make_state, make_task):
    tasks = [make_task("a", work_s=10), make_task("b", work_s=10)]
    state, countdown = make_state(tasks, Capacity(cores=1, slots=1, memory_bytes=100)), Countdown(tasks)
    state.start(0.0)
    assert countdown.remaining_s(state, 5.0) == 20.0, "it waits for a process"
    state.handle(FitBegan(at=5.0, key="a"))
    assert countdown.remaining_s(state, 9.0) == 16.0
    assert countdown.remaining_s(state, 99.0) == 10.0, "over time, but it must end soon"


def test_what_was_given_up_is_not_waited_for(make_state, make_task):
    tasks = [make_task("a", work_s=10), make_task("b", work_s=30, after=("a",)), make_task("c", work_s=10)]
    state, countdown = make_state(tasks, Capacity(cores=1, slots=1, memory_bytes=100)), Countdown(tasks)
    state.start(0.0)
    state.handle(FitFailed(at=1.0, key="a", reason="error", retryable=False))
    assert countdown.remaining_s(state, 1.0) == 10.0


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(works=st.lists(st.floats(0, 50), min_size=1, max_size=20), cores=st.integers(1, 4), slower=st.floats(0.1, 10))
def test_it_is_never_below_nothing_and_ends_there(play, make_task, works, cores, slower):
    tasks = [make_task(str(n), work_s=work_s, max_threads=1 + n % 3) for n, work_s in enumerate(works)]
    told = play(tasks, Capacity(cores=cores, slots=1, memory_bytes=100), slower)
    assert all(left_s >= 0 for _, left_s in told)
    assert told[-1][1] == 0.0
