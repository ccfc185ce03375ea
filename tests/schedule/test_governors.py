import pytest

from raytrain.schedule.words import (
    AskStop,
    Failed,
    Finished,
    FitFailed,
    FitMeasured,
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


def _stopped(state, key, at=1.0):
    return state.handle(FitStopped(at=at, key=key))


@pytest.fixture
def hot(make_state, make_task, make_capacity):
    """A tree fit and a net under way on two cores when the machine becomes too hot."""
    state = make_state([make_task("tree", max_threads=1), make_task("net", lane="slot")], make_capacity())
    state.start(0.0)
    assert state.handle(ThermalChanged(at=1.0, level="stop")) == [Reserve(2), AskStop("net"), AskStop("tree")]
    return state


def test_heat_keeps_tokens_from_everyone_and_gives_them_back_step_by_step(make_state, make_task, make_capacity):
    state = make_state([make_task("a", max_threads=1)], make_capacity(cores=8))
    state.start(0.0)
    levels = ("watch", "shrink", "shrink", "stop", "shrink", "ok", "unknown")
    told = [state.handle(ThermalChanged(at=1.0, level=level)) for level in levels]
    assert [[one.tokens for one in some if isinstance(one, Reserve)] for some in told] == [
        [],
        [4],
        [],
        [8],
        [4],
        [0],
        [],
    ]


def test_tokens_are_given_back_when_the_run_ends_hot(make_state, make_task, finish):
    state = make_state([make_task("a")])
    state.start(0.0)
    state.handle(ThermalChanged(at=1.0, level="shrink"))
    assert finish(state, "a") == [Reserve(0), Finished()]


def test_what_stopped_for_heat_goes_on_when_it_is_cool(hot):
    assert _stopped(hot, "tree") == []
    assert _stopped(hot, "net") == [ReleaseSlot(0)]
    assert list(hot.ready) == ["tree", "net"]
    assert hot.handle(ThermalChanged(at=9.0, level="shrink")) == [Reserve(1), Start("net", "slot", "torch", 1, 0)]
    assert hot.handle(ThermalChanged(at=9.0, level="ok")) == [Reserve(0), Start("tree", "cores", "native", 1)]


def test_who_finishes_instead_is_done(hot, finish):
    assert finish(hot, "tree", "net") == [ReleaseSlot(0), Reserve(0), Finished()]


def test_a_stop_of_the_run_asks_nobody_twice(hot):
    assert hot.handle(StopRequested(at=2.0)) == []
    _stopped(hot, "tree")
    assert _stopped(hot, "net") == [ReleaseSlot(0), Reserve(0), Finished()]
    assert hot.skipped == dict.fromkeys(("tree", "net"), Skipped("stopped"))


def test_a_fit_is_asked_to_make_room_so_often_and_then_left_to_run(make_state, make_task, finish):
    state = make_state([make_task("a")], settings=Settings(max_yields=2))
    state.start(0.0)
    for _ in range(2):
        assert state.handle(ThermalChanged(at=1.0, level="stop")) == [Reserve(2), AskStop("a")]
        _stopped(state, "a")
        state.handle(ThermalChanged(at=2.0, level="ok"))
    assert state.handle(ThermalChanged(at=3.0, level="stop")) == [Reserve(2)]
    assert finish(state, "a") == [Reserve(0), Finished()]


@pytest.fixture
def full(make_state, make_task, make_capacity):
    """A large, a middle and a small fit under way, more of them waiting, when memory runs short."""
    sizes = {"large": 40, "middle": 30, "small": 10, "later": 10}
    tasks = [make_task(key, memory_bytes=size, work_s=size, max_threads=4) for key, size in sizes.items()]
    state = make_state(tasks, make_capacity(cores=3, slots=0))
    state.start(0.0)
    return state


def test_memory_that_only_is_short_asks_nobody(full):
    assert full.handle(MemoryChanged(at=1.0, level="warn")) == []
    assert full.handle(Tick(at=99.0)) == []


def test_memory_that_gets_shorter_asks_the_largest_and_waits_for_it(full):
    assert full.handle(MemoryChanged(at=1.0, level="rising")) == [AskStop("large")]
    assert full.handle(Tick(at=10.9)) == []
    assert full.handle(Tick(at=11.0)) == [AskStop("middle")]
    assert full.handle(MemoryChanged(at=11.5, level="warn")) == []
    assert full.handle(Tick(at=50.0)) == []


def test_what_a_fit_really_takes_says_which_is_the_largest(full):
    full.handle(FitMeasured(at=0.5, key="small", memory_bytes=41))
    assert full.handle(MemoryChanged(at=1.0, level="rising")) == [AskStop("small")]


def test_a_fit_that_made_room_comes_back_on_one_thread_after_the_others(full, finish, started):
    full.handle(FitMeasured(at=0.5, key="large", memory_bytes=55))
    full.handle(MemoryChanged(at=1.0, level="rising"))
    assert _stopped(full, "large") == []
    assert (full.tasks["large"].max_threads, full.tasks["large"].memory_bytes) == (1, 55)
    assert full.handle(MemoryChanged(at=2.0, level="normal")) == [Start("later", "cores", "native", 1)]
    assert finish(full, "middle") == [Start("large", "cores", "native", 1)]


def test_a_fit_alone_on_one_thread_cannot_become_smaller(make_state, make_task, make_capacity):
    state = make_state([make_task("a", max_threads=2)], make_capacity(cores=2, slots=0))
    assert state.start(0.0) == [Start("a", "cores", "native", 2)]
    assert state.handle(MemoryChanged(at=1.0, level="rising")) == [AskStop("a")]
    assert _stopped(state, "a") == [Start("a", "cores", "native", 1)], "one at a time goes on"
    assert state.handle(Tick(at=50.0)) == []


def test_in_need_the_fit_over_its_own_estimate_is_killed_and_tried_again_alone(full, finish):
    full.handle(FitMeasured(at=0.5, key="small", memory_bytes=25))
    full.handle(FitMeasured(at=0.5, key="middle", memory_bytes=40))
    full.handle(FitMeasured(at=0.5, key="large", memory_bytes=40))
    assert full.handle(MemoryChanged(at=1.0, level="critical")) == [Kill("small", "oom")]
    assert full.handle(Tick(at=5.0)) == []
    full.handle(FitFailed(at=6.0, key="small", reason="oom"))
    assert full.handle(MemoryChanged(at=7.0, level="normal")) == [Start("later", "cores", "native", 1)]
    assert finish(full, "large", "later") == []
    assert finish(full, "middle") == [Start("small", "cores", "native", 1)], "nothing runs beside it"
    full.handle(FitFailed(at=8.0, key="small", reason="oom"))
    assert full.failed == {"small": Failed("oom", 2)}


def test_in_need_without_a_culprit_the_largest_is_asked_and_then_the_next(full):
    full.handle(FitMeasured(at=0.5, key="middle", memory_bytes=30))
    assert full.handle(MemoryChanged(at=1.0, level="critical")) == [AskStop("large")]
    full.handle(FitMeasured(at=2.0, key="middle", memory_bytes=31))
    assert full.handle(Tick(at=2.5)) == [Kill("middle", "oom")], "asking was not enough"
    assert full.handle(Tick(at=3.0)) == [], "its memory comes free first"
    assert full.handle(Tick(at=12.5)) == [AskStop("small")]


def test_a_fit_in_the_slot_that_ran_out_of_memory_is_tried_again_alone(make_state, make_task, finish, started):
    tasks = [make_task("s", lane="slot"), *(make_task(f"c{n}") for n in range(3))]
    state = make_state(tasks, settings=Settings(max_passed=1))
    assert started(state.start(0.0)) == ["s", "c0"]
    # Beside c0 there is not all the memory: one may pass, then it is its turn.
    assert started(state.handle(FitFailed(at=1.0, key="s", reason="oom"))) == ["c1"]
    assert started(finish(state, "c0")) == []
    assert started(finish(state, "c1")) == ["s"]
    assert started(finish(state, "s")) == ["c2"]


def test_after_the_end_nobody_is_left_to_make_room(make_state, make_task, finish):
    state = make_state([make_task("a")])
    state.start(0.0)
    assert finish(state, "a") == [Finished()]
    events = [ThermalChanged(at=2.0, level="stop"), MemoryChanged(at=2.0, level="critical"), Tick(at=9.0)]
    assert [state.handle(event) for event in events] == [[], [], []]


def test_a_run_that_was_told_to_stop_still_ends_the_one_that_takes_the_memory(full):
    full.handle(StopRequested(at=1.0))
    full.handle(FitMeasured(at=1.0, key="small", memory_bytes=25))
    assert full.handle(MemoryChanged(at=2.0, level="critical")) == [Kill("small", "oom")]
    full.handle(FitFailed(at=3.0, key="small", reason="oom"))
    assert full.skipped["small"] == Skipped("stopped")
