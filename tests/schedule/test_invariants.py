"""Random lives of a state: whatever happens, in whatever order, the invariants hold and the run comes to its end."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from raytrain.schedule.state import State
from raytrain.schedule.story import decisions, entry, opening, replay
from raytrain.schedule.words import (
    AskStop,
    Capacity,
    Finished,
    FitFailed,
    FitFinished,
    FitStopped,
    Kill,
    MemoryChanged,
    ReleaseSlot,
    Settings,
    Start,
    StopRequested,
    Task,
    ThermalChanged,
    Tick,
)

CAPACITIES = st.integers(0, 2).flatmap(
    lambda host_cores: st.builds(
        Capacity,
        cores=st.integers(max(1, host_cores), 5),
        slots=st.integers(1, 3),
        memory_bytes=st.integers(10, 30),
        slot_host_cores=st.just(host_cores),
    )
)
SETTINGS = st.builds(
    Settings,
    max_tries=st.integers(1, 3),
    recycle_after=st.integers(1, 4),
    turn_fits=st.integers(1, 3),
    max_passed=st.integers(1, 4),
)


@st.composite
def plans(draw):
    tasks = []
    for number in range(draw(st.integers(0, 20))):
        earlier = st.sets(st.sampled_from(range(number)), max_size=2) if number else st.just(set())
        lane = draw(st.sampled_from(["cores", "slot"]))
        tasks.append(
            Task(
                key=f"k{number}",
                label=f"k{number}",
                family="f",
                engine=draw(st.sampled_from(["native", "torch", "keras"])),
                lane=lane,
                work_s=draw(st.floats(0, 100)),
                memory_bytes=draw(st.integers(0, 10)),
                max_threads=draw(st.integers(1, 4)) if lane == "cores" else 1,
                priority=draw(st.integers(0, 1)),
                after=tuple(f"k{n}" for n in sorted(draw(earlier))),
                deadline_s=draw(st.sampled_from([None, 3.0])),
            )
        )
    return tasks


class RandomLives(RuleBasedStateMachine):
    """A driver that keeps its own books from the instructions alone."""

    @initialize(tasks=plans(), capacity=CAPACITIES, patience=SETTINGS)
    def begin(self, tasks, capacity, patience):
        self.state = State(tasks, capacity, settings=patience)
        self.capacity = capacity
        self.now_s = 0.0
        self.running, self.slots = {}, {}
        self.asked, self.killed = set(), set()
        self.num_finished_told = 0
        self.lines = list(opening(self.state))
        self.tell(Tick(at=0.0))

    def tell(self, event):
        instructions = self.state.handle(event)
        self.lines += entry(event, instructions).splitlines(keepends=True)
        for instruction in instructions:
            assert not self.num_finished_told, "something came after the end"
            self.follow(instruction)
        self.state.validate()

    def follow(self, instruction):
        match instruction:
            case Start():
                self.begin_fit(instruction)
            case ReleaseSlot(slot=slot):
                assert all(start.slot != slot for start in self.running.values()), "released under a running fit"
                del self.slots[slot]
            case Kill(key=key):
                assert key in self.running and key not in self.killed
                self.killed.add(key)
            case AskStop(key=key):
                assert key in self.running and key not in self.asked
                self.asked.add(key)
            case Finished():
                self.num_finished_told += 1
                assert not self.running and not self.slots

    def begin_fit(self, start):
        assert start.key not in self.running, "started while it runs"
        assert start.key not in self.state.done
        assert all(start.slot is None or start.slot != other.slot for other in self.running.values())
        self.running[start.key] = start
        if start.slot is not None:
            assert self.slots.setdefault(start.slot, start.engine) == start.engine, "a slot of another engine"
        threads = sum(other.threads for other in self.running.values() if other.slot is None)
        assert threads + len(self.slots) * self.capacity.slot_host_cores <= self.capacity.cores
        assert len(self.slots) <= self.capacity.slots
        assert sum(self.state.tasks[key].memory_bytes for key in self.running) <= self.capacity.memory_bytes

    def some_running(self, data):
        key = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[key]
        self.killed.discard(key)
        return key

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data):
        key = self.some_running(data)
        self.tell(FitFinished(at=self.now_s, key=key, wall_s=1.0, cpu_s=1.0, peak_memory_bytes=1))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), reason=st.sampled_from(["error", "crash", "oom", "timeout"]), retryable=st.booleans())
    def fail(self, data, reason, retryable):
        key = self.some_running(data)
        self.tell(FitFailed(at=self.now_s, key=key, reason=reason, retryable=retryable))

    @precondition(lambda self: self.asked & self.running.keys())
    @rule(data=st.data())
    def stop_one(self, data):
        key = data.draw(st.sampled_from(sorted(self.asked & self.running.keys())))
        del self.running[key]
        self.tell(FitStopped(at=self.now_s, key=key))

    @rule(level=st.sampled_from(["ok", "watch", "shrink", "stop", "unknown"]))
    def heat(self, level):
        self.tell(ThermalChanged(at=self.now_s, level=level))

    @rule(level=st.sampled_from(["normal", "warn", "critical", "unknown"]))
    def press(self, level):
        self.tell(MemoryChanged(at=self.now_s, level=level))

    @rule(passed_s=st.floats(0, 4))
    def wait(self, passed_s):
        self.now_s += passed_s
        self.tell(Tick(at=self.now_s))

    # Rarely, or most lives would be short.
    @precondition(lambda self: len(self.lines) > 60)
    @rule()
    def stop(self):
        self.tell(StopRequested(at=self.now_s))

    def teardown(self):
        if not hasattr(self, "state"):
            return
        self.tell(ThermalChanged(at=self.now_s, level="ok"))
        self.tell(MemoryChanged(at=self.now_s, level="normal"))
        while self.running:
            key, _ = self.running.popitem()
            self.tell(FitFinished(at=self.now_s, key=key, wall_s=1.0, cpu_s=1.0, peak_memory_bytes=1))
        assert self.num_finished_told == 1
        assert len(self.state.done) + len(self.state.failed) + len(self.state.skipped) == len(self.state.tasks)
        assert replay(self.lines) == decisions(self.lines)


TestRandomLives = RandomLives.TestCase
TestRandomLives.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
