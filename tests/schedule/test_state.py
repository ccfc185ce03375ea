import pytest

from raytrain.schedule.policy import Policy
from raytrain.schedule.state import State
from raytrain.schedule.words import (
    AskStop,
    Failed,
    Finished,
    FitBegan,
    FitFailed,
    FitStopped,
    Kill,
    MemoryChanged,
    ReleaseSlot,
    Reserve,
    Settings,
    Skipped,
    Start,
    StopRequested,
    ThermalChanged,
    Tick,
)


def _failed(key, reason, at=1.0, **fields):
    return FitFailed(at=at, key=key, reason=reason, **fields)


def test_nothing_to_do_is_finished_at_once(make_state):
    state = make_state([])
    assert state.start(0.0) == [Finished()]
    assert state.handle(Tick(at=1.0)) == []


def test_longest_first_as_many_as_there_are_cores(make_state, make_task, finish, started):
    state = make_state([make_task("short", work_s=1), make_task("long", work_s=9), make_task("mid", work_s=5)])
    assert state.start(0.0) == [Start("long", "cores", "native", 1), Start("mid", "cores", "native", 1)]
    assert state.remaining_work_s == 15
    assert started(finish(state, "mid")) == ["short"]
    assert finish(state, "long") == []
    assert finish(state, "short") == [Finished()]
    assert list(state.done) == ["mid", "long", "short"]
    assert state.remaining_work_s == 0


def test_few_fits_are_run_wide_within_what_pays(make_state, make_task, make_capacity):
    tasks = [make_task("a", max_threads=8), make_task("b", max_threads=2), make_task("c", max_threads=8)]
    starts = make_state(tasks, make_capacity(cores=10)).start(0.0)
    assert [start.threads for start in starts] == [3, 2, 5]


def test_a_policy_that_asks_for_too_much_gets_what_there_is(make_state, make_task):
    class Greedy(Policy):
        def threads(self, task, free_cores, num_ready):
            return 99

    starts = make_state([make_task("a", max_threads=50), make_task("b")], policy=Greedy()).start(0.0)
    assert starts == [Start("a", "cores", "native", 2)]


def test_a_fit_waits_for_all_it_depends_on(make_state, make_task, finish, started):
    state = make_state([make_task("sum", after=("a", "b")), make_task("a"), make_task("b")])
    state.start(0.0)
    assert list(state.waiting) == ["sum"]
    assert started(finish(state, "a")) == []
    assert started(finish(state, "b")) == ["sum"]


@pytest.mark.parametrize("reason", ["error", "timeout"])
def test_an_error_is_not_tried_again(make_state, make_task, reason):
    state = make_state([make_task("a")])
    state.start(0.0)
    assert state.handle(_failed("a", reason)) == [Finished()]
    assert state.failed == {"a": Failed(reason, 1)}


@pytest.mark.parametrize("reason", ["crash", "oom"])
def test_a_crash_or_lack_of_memory_has_one_more_try(make_state, make_task, started, reason):
    state = make_state([make_task("a")])
    state.start(0.0)
    assert started(state.handle(_failed("a", reason))) == ["a"]
    assert state.handle(_failed("a", reason)) == [Finished()]
    assert state.failed == {"a": Failed(reason, 2)}


def test_a_crash_that_cannot_end_better_is_not_tried_again(make_state, make_task):
    state = make_state([make_task("a")])
    state.start(0.0)
    state.handle(_failed("a", "crash", retryable=False))
    assert state.failed == {"a": Failed("crash", 1)}


def test_what_waits_for_a_failed_fit_is_skipped_and_the_rest_goes_on(make_state, make_task, finish):
    tasks = [make_task("a"), make_task("b", after=("a",)), make_task("c", after=("b", "d")), make_task("d")]
    state = make_state(tasks)
    state.start(0.0)
    state.handle(_failed("a", "error"))
    assert state.skipped == {"b": Skipped("dependency", "a"), "c": Skipped("dependency", "a")}
    assert finish(state, "d") == [Finished()]


def test_a_fit_over_its_deadline_is_killed_once(make_state, make_task):
    state = make_state([make_task("a", deadline_s=10.0), make_task("b")])
    state.start(0.0)
    assert state.handle(Tick(at=99.0)) == [], "it waits for a process: strangers hold the cores"
    state.handle(FitBegan(at=5.0, key="a"))
    assert state.handle(Tick(at=15.0)) == []
    assert state.handle(Tick(at=15.1)) == [Kill("a")]
    assert state.handle(Tick(at=16.0)) == []
    state.handle(_failed("a", "timeout"))
    assert list(state.failed) == ["a"]


def test_a_fit_tried_again_has_its_whole_deadline(make_state, make_task):
    state = make_state([make_task("a", deadline_s=10.0)])
    state.start(0.0)
    state.handle(FitBegan(at=0.0, key="a"))
    state.handle(_failed("a", "crash", at=8.0))
    assert state.handle(Tick(at=17.0)) == []
    state.handle(FitBegan(at=8.0, key="a"))
    assert state.handle(Tick(at=17.0)) == []
    assert state.handle(Tick(at=19.0)) == [Kill("a")]


def test_a_stop_asks_the_running_and_skips_the_rest(make_state, make_task, finish):
    tasks = [make_task("a", work_s=2), make_task("b"), make_task("c", after=("a",)), make_task("s", lane="slot")]
    state = make_state(tasks)
    state.start(0.0)
    assert state.handle(StopRequested(at=1.0)) == [AskStop("s"), AskStop("a")]
    assert state.handle(StopRequested(at=1.0)) == []
    assert set(state.skipped) == {"b", "c"}
    assert finish(state, "a") == []
    assert state.handle(FitStopped(at=2.0, key="s")) == [ReleaseSlot(0), Finished()]
    assert state.skipped["s"] == Skipped("stopped")
    assert list(state.done) == ["a"]


def test_a_worker_that_dies_of_the_stop_has_not_failed(make_state, make_task):
    state = make_state([make_task("a"), make_task("b")])
    state.start(0.0)
    state.handle(StopRequested(at=1.0))
    state.handle(_failed("a", "crash"))
    state.handle(_failed("b", "error"))
    assert state.skipped == {"a": Skipped("stopped")}
    assert state.failed == {"b": Failed("error", 1)}


def test_heat_halves_the_cores_then_admits_nothing_then_all_again(
    make_state, make_task, make_capacity, finish, started
):
    state = make_state([make_task(str(n)) for n in range(20)], make_capacity(cores=4, slots=0))
    assert len(started(state.start(0.0))) == 4
    assert state.handle(ThermalChanged(at=1.0, level="shrink")) == [Reserve(2)]
    assert [len(started(finish(state, key))) for key in ("0", "1", "2")] == [0, 0, 1]
    assert AskStop("4") in state.handle(ThermalChanged(at=2.0, level="stop"))
    assert started(finish(state, "3", "4")) == []
    assert not state.running and state.num_unfinished == 15
    assert len(started(state.handle(ThermalChanged(at=3.0, level="unknown")))) == 4


def test_a_hot_machine_of_one_core_goes_on_until_told_to_stop(make_state, make_task, make_capacity, started):
    state = make_state([make_task("a")], make_capacity(cores=1))
    assert started(state.handle(ThermalChanged(at=0.0, level="shrink"))) == ["a"]


@pytest.mark.parametrize("level", ["warn", "rising", "critical"])
def test_memory_pressure_admits_nothing_new(make_state, make_task, finish, started, level):
    state = make_state([make_task(str(n)) for n in range(4)])
    state.start(0.0)
    assert started(state.handle(MemoryChanged(at=1.0, level=level))) == []
    assert started(finish(state, "0")) == []
    assert len(started(state.handle(MemoryChanged(at=2.0, level="normal")))) == 1


def test_under_a_memory_warning_one_fit_at_a_time_goes_on(make_state, make_task, make_capacity, finish, started):
    state = make_state([make_task(str(n)) for n in range(4)], make_capacity(cores=2))
    state.start(0.0)
    state.handle(MemoryChanged(at=1.0, level="warn"))
    assert started(finish(state, "0")) == []
    assert started(finish(state, "1")) == ["2"]
    assert started(finish(state, "2")) == ["3"]


def test_an_event_that_cannot_be_true_tells_the_story(make_state, make_task, finish):
    state = make_state([make_task("a")])
    state.start(0.0)
    with pytest.raises(AssertionError, match=r"b ended, but it does not run(?s:.*)Tick\(at=0.0\) -> \[Start\(key='a'"):
        finish(state, "b")
    with pytest.raises(AssertionError, match="nobody asked"):
        state.handle(FitStopped(at=1.0, key="a"))


def test_a_broken_invariant_is_found(make_capacity, make_task):
    state = State([make_task("a"), make_task("b", after=("a",))], make_capacity())
    state.start(0.0)
    state._done["b"] = None
    with pytest.raises(AssertionError, match=r"(?s)b is in 2 places.*the story so far"):
        state.validate()


def test_crash_settings_are_obeyed(make_state, make_task, started):
    state = make_state([make_task("a")], settings=Settings(max_tries=3))
    state.start(0.0)
    assert [started(state.handle(_failed("a", "crash"))) for _ in range(3)] == [["a"], ["a"], []]
