from raytrain.schedule.words import (
    EndIdle,
    Finished,
    FitFailed,
    IdleMeasured,
    MemoryChanged,
    ReleaseSlot,
    Reserve,
    Settings,
    Start,
    ThermalChanged,
)


def test_the_slot_takes_a_host_core_and_the_other_is_left_for_trees(make_state, make_task, finish):
    state = make_state([make_task("a"), make_task("b"), make_task("s", lane="slot"), make_task("t", lane="slot")])
    assert state.start(0.0) == [Start("s", "slot", "torch", 1, 0), Start("a", "cores", "native", 1)]
    assert finish(state, "s") == [Start("t", "slot", "torch", 1, 0)]
    assert finish(state, "t") == [ReleaseSlot(0), Start("b", "cores", "native", 1)]


def test_an_engine_keeps_the_slot_until_its_queue_is_empty(make_state, make_task, finish):
    tasks = [
        make_task("t1", lane="slot", work_s=4),
        make_task("t2", lane="slot", work_s=4),
        make_task("k1", lane="slot", work_s=7, engine="keras"),
        make_task("n1", lane="slot", work_s=1, engine="native"),
    ]
    state = make_state(tasks)
    assert state.start(0.0) == [Start("t1", "slot", "torch", 1, 0)]
    assert finish(state, "t1") == [Start("t2", "slot", "torch", 1, 0)]
    assert finish(state, "t2") == [ReleaseSlot(0), Start("k1", "slot", "keras", 1, 0)]
    assert finish(state, "k1") == [ReleaseSlot(0), Start("n1", "slot", "native", 1, 0)]
    assert finish(state, "n1") == [ReleaseSlot(0), Finished()]


def test_a_slot_is_recycled_after_so_many_fits(make_state, make_task, finish):
    state = make_state([make_task(f"{n}", lane="slot") for n in range(3)], settings=Settings(recycle_after=2))
    state.start(0.0)
    assert finish(state, "0") == [Start("1", "slot", "torch", 1, 0)]
    assert finish(state, "1") == [ReleaseSlot(0), Start("2", "slot", "torch", 1, 0)]


def test_a_slot_whose_process_died_is_released_and_one_with_an_error_is_kept(make_state, make_task):
    state = make_state([make_task("a", lane="slot", work_s=2), make_task("b", lane="slot")])
    state.start(0.0)
    again = state.handle(FitFailed(at=1.0, key="a", reason="crash"))
    assert again == [ReleaseSlot(0), Start("a", "slot", "torch", 1, 0)]
    assert state.handle(FitFailed(at=2.0, key="a", reason="error")) == [Start("b", "slot", "torch", 1, 0)]


def test_two_slots_leave_a_core_for_trees(make_state, make_task, make_capacity, finish, started):
    tasks = [make_task("a"), *(make_task(f"s{n}", lane="slot") for n in range(4))]
    state = make_state(tasks, make_capacity(cores=2, slots=2))
    assert started(state.start(0.0)) == ["s0", "a"]
    assert finish(state, "a") == [Start("s1", "slot", "torch", 1, 1)]


def test_two_slots_serve_two_engines(make_state, make_task, make_capacity):
    tasks = [
        make_task("t", lane="slot", work_s=9),
        make_task("t2", lane="slot", work_s=9),
        make_task("k", lane="slot", work_s=10, engine="keras"),
    ]
    state = make_state(tasks, make_capacity(cores=4, slots=2))
    assert state.start(0.0) == [Start("t", "slot", "torch", 1, 0), Start("k", "slot", "keras", 1, 1)]


def test_on_one_core_the_lanes_take_turns(make_state, make_task, make_capacity, finish, started):
    tasks = [*(make_task(f"c{n}") for n in range(5)), *(make_task(f"s{n}", lane="slot") for n in range(5))]
    state = make_state(tasks, make_capacity(cores=1), settings=Settings(turn_fits=2))
    (key,) = started(state.start(0.0))
    order = [key]
    while state.num_unfinished:
        order += started(finish(state, order[-1]))
    assert "".join(key[0] for key in order) == "ssccssccsc"


def test_a_slot_task_on_a_hot_machine_waits_for_its_host_cores_while_trees_run(
    make_state, make_task, make_capacity, started
):
    state = make_state([make_task("a"), make_task("s", lane="slot")], make_capacity(cores=2, slot_host_cores=2))
    assert started(state.handle(ThermalChanged(at=0.0, level="shrink"))) == ["a"]
    assert started(state.handle(ThermalChanged(at=1.0, level="ok"))) == []


def test_idle_slots_are_let_go_when_nothing_may_start(make_state, make_task, finish):
    state = make_state([make_task("a", lane="slot"), make_task("b", lane="slot")])
    state.start(0.0)
    state.handle(ThermalChanged(at=1.0, level="stop"))
    assert finish(state, "a") == [ReleaseSlot(0)]
    assert state.handle(ThermalChanged(at=2.0, level="ok")) == [Reserve(0), Start("b", "slot", "torch", 1, 0)]


def test_smaller_fits_go_past_one_that_waits_for_memory_but_not_for_ever(
    make_state, make_task, make_capacity, finish, started
):
    small = [make_task(f"s{n}", work_s=1, memory_bytes=30) for n in range(12)]
    large = make_task("large", work_s=5, memory_bytes=90)
    state = make_state(
        [make_task("first", work_s=9, memory_bytes=30), large, *small],
        make_capacity(cores=3, slots=0),
        settings=Settings(max_passed=4),
    )
    assert started(state.start(0.0)) == ["first", "s0", "s1"]
    assert started(finish(state, "s0", "s1")) == ["s2", "s3"]
    assert started(finish(state, "s2", "s3")) == []
    assert started(finish(state, "first")) == ["large"]


def test_a_slot_fit_that_waits_for_memory_is_not_starved_by_trees(
    make_state, make_task, make_capacity, finish, started
):
    trees = [make_task(f"c{n}", memory_bytes=40) for n in range(9)]
    state = make_state(
        [
            make_task("first", memory_bytes=40, work_s=2),
            make_task("s", lane="slot", memory_bytes=70, after=("first",)),
            *trees,
        ],
        make_capacity(cores=3),
        settings=Settings(max_passed=2),
    )
    assert started(state.start(0.0)) == ["first", "c0"]
    assert started(finish(state, "first")) == ["c1"]
    assert started(finish(state, "c0")) == ["c2"]
    assert started(finish(state, "c1")) == []
    assert started(finish(state, "c2")) == ["s"]


def test_a_slot_fit_that_waits_for_its_host_cores_is_not_starved_by_trees(
    make_state, make_task, make_capacity, finish, started
):
    trees = [make_task(f"c{n}") for n in range(9)]
    tasks = [make_task("first", work_s=2), make_task("s", lane="slot", after=("first",)), *trees]
    state = make_state(tasks, make_capacity(cores=3, slot_host_cores=2), settings=Settings(max_passed=2))
    assert started(state.start(0.0)) == ["first", "c0", "c1"]
    assert started(finish(state, "first", "c0")) == ["c2", "c3"]
    assert started(finish(state, "c1")) == []
    assert started(state.handle(ThermalChanged(at=2.0, level="shrink"))) == []
    assert started(finish(state, "c2", "c3")) == ["c4"], "the slot cannot start on so few cores, so trees go on"
    assert started(state.handle(ThermalChanged(at=3.0, level="ok"))) == ["s"]


def test_waiting_for_a_busy_slot_is_not_being_passed(make_state, make_task, make_capacity, finish, started):
    tasks = [
        make_task("large", memory_bytes=60, work_s=9),
        make_task("x"),
        make_task("y"),
        make_task("k", lane="slot", engine="keras", memory_bytes=50, after=("x",)),
        make_task("t", lane="slot", engine="torch", after=("y",), priority=1),
        *(make_task(f"c{n}", after=("y",)) for n in range(9)),
    ]
    state = make_state(tasks, make_capacity(cores=4), settings=Settings(max_passed=4))
    assert started(state.start(0.0)) == ["large", "x", "y"]
    assert started(finish(state, "x")) == [], "k waits for memory"
    assert started(finish(state, "y")) == ["t", "c0", "c1"], "t passes k"
    assert started(finish(state, "c0", "c1", "c2", "c3")) == ["c2", "c3", "c4", "c5"], "k waits for the slot"


def test_an_urgent_slot_fit_goes_before_priority_turns_and_the_engine_that_holds_the_slot(
    make_state, make_task, make_capacity, finish, started
):
    tasks = [
        make_task("t0", lane="slot", memory_bytes=60, work_s=9),
        make_task("t1", lane="slot", memory_bytes=60, work_s=8),
        make_task("k", lane="slot", engine="keras", memory_bytes=60, work_s=14),
        make_task("t2", lane="slot", memory_bytes=60, after=("t1",), priority=1),
        make_task("tree", after=("t1",)),
    ]
    capacity = make_capacity(cores=4, slots=2, slot_host_cores=2)
    state = make_state(tasks, capacity, settings=Settings(max_passed=1, turn_fits=2))
    assert started(state.start(0.0)) == ["t0"]
    assert started(finish(state, "t0")) == ["t1"]
    # Half of the cores are too few for both lanes at once, and it is the turn of the trees.
    state.handle(ThermalChanged(at=2.0, level="shrink"))
    assert finish(state, "t1") == [ReleaseSlot(0), Start("k", "slot", "keras", 1, 0)]
    assert started(finish(state, "k")) == ["tree"]


def test_idle_processes_are_ended_when_a_fit_needs_their_memory_and_not_before(
    make_state, make_task, make_capacity, finish
):
    tasks = [
        make_task("a", memory_bytes=60),
        make_task("b", memory_bytes=30, after=("a",)),
        make_task("c", after=("b",)),
    ]
    state = make_state([*tasks, make_task("d", memory_bytes=90, after=("c",))], make_capacity(cores=1, slots=0))
    state.start(0.0)
    assert state.handle(IdleMeasured(at=1.0, memory_bytes=40)) == []
    assert finish(state, "a") == [Start("b", "cores", "native", 1)], "60 of 100 bytes are left beside them"
    assert finish(state, "b", "c") == [
        Start("c", "cores", "native", 1),
        EndIdle(),
        Start("d", "cores", "native", 1),
    ]


def test_idle_processes_are_ended_for_the_slot_too(make_state, make_task, make_capacity, finish):
    tasks = [make_task("a"), make_task("s", lane="slot", memory_bytes=90, after=("a",))]
    state = make_state(tasks, make_capacity())
    state.start(0.0)
    state.handle(IdleMeasured(at=1.0, memory_bytes=20))
    assert finish(state, "a") == [EndIdle(), Start("s", "slot", "torch", 1, 0)]


def test_idle_processes_are_kept_when_ending_them_would_not_be_enough(make_state, make_task, make_capacity, finish):
    tasks = [
        make_task("a", memory_bytes=50, work_s=9),
        make_task("b", memory_bytes=20),
        make_task("c", memory_bytes=60),
    ]
    state = make_state(tasks, make_capacity(cores=2, slots=0))
    state.start(0.0)
    assert state.handle(IdleMeasured(at=1.0, memory_bytes=20)) == []
    assert finish(state, "b") == []
    assert finish(state, "a") == [Start("c", "cores", "native", 1)]


def test_idle_processes_that_take_more_than_there_is_stop_nothing(make_state, make_task, make_capacity, finish):
    state = make_state([make_task("a"), make_task("b", after=("a",))], make_capacity(cores=1, slots=0))
    state.start(0.0)
    assert state.handle(IdleMeasured(at=1.0, memory_bytes=500)) == []
    assert finish(state, "a") == [EndIdle(), Start("b", "cores", "native", 1)]


def test_idle_processes_are_ended_when_the_machine_runs_short(make_state, make_task):
    state = make_state([make_task("a")])
    state.start(0.0)
    state.handle(IdleMeasured(at=1.0, memory_bytes=20))
    assert state.handle(MemoryChanged(at=2.0, level="warn")) == [EndIdle()]
    assert state.handle(MemoryChanged(at=3.0, level="warn")) == [], "they are gone"
