"""Random lives of a state: whatever happens, in whatever order, the invariants hold and the run comes to its end."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from raytrain.schedule.state import State
from raytrain.schedule.story import decisions, entry, opening, replay
from raytrain.schedule.words import (
    AskStop,
    Capacity,
    CapacityChanged,
    EndIdle,
    Finished,
    FitBegan,
    FitFailed,
    FitFinished,
    FitMeasured,
    FitStopped,
    IdleMeasured,
    Kill,
    MemoryChanged,
    ReleaseSlot,
    Reserve,
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
    max_yields=st.integers(1, 3),
    relief_s=st.integers(1, 3),
)
HEAT = ("ok", "watch", "shrink", "stop", "unknown")
MEMORY = ("normal", "warn", "rising", "critical", "unknown")
MACHINES = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2), st.integers(1, 30)), max_size=3)
"""Cores, slots and memory of each."""


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
        self.starts = Counter()
        self.tokens = self.idle_bytes = 0
        self.num_finished_told = self.num_resized = 0
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
            case Reserve(tokens=tokens):
                assert tokens != self.tokens and 0 <= tokens <= self.capacity.cores
                self.tokens = tokens
            case EndIdle():
                assert self.idle_bytes
                self.idle_bytes = 0
            case Finished():
                self.num_finished_told += 1
                assert not self.running and not self.slots and not self.tokens

    def begin_fit(self, start):
        assert start.key not in self.running, "started while it runs"
        assert start.key not in self.state.done
        assert all(start.slot is None or start.slot != other.slot for other in self.running.values())
        self.running[start.key] = start
        self.starts[start.key] += 1
        patience = self.state.settings
        tries = max(patience.max_tries, patience.oom_tries) + self.num_resized
        assert self.starts[start.key] <= tries + patience.max_yields
        if start.slot is not None:
            assert start.slot in self.slots or len(self.slots) < self.capacity.slots
            assert self.slots.setdefault(start.slot, start.engine) == start.engine, "a slot of another engine"
        threads = sum(other.threads for other in self.running.values() if other.slot is None)
        assert threads + len(self.slots) * self.capacity.slot_host_cores <= self.capacity.cores
        memory_bytes = sum(self.state.tasks[key].memory_bytes for key in self.running)
        assert memory_bytes + self.idle_bytes <= self.capacity.memory_bytes

    def some_running(self, data):
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.gone(key)
        return key

    def gone(self, key):
        del self.running[key]
        self.killed.discard(key)
        self.asked.discard(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def begin_one(self, data):
        self.tell(FitBegan(at=self.now_s, key=data.draw(st.sampled_from(sorted(self.running)))))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), memory_bytes=st.integers(0, 20))
    def measure(self, data, memory_bytes):
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.tell(FitMeasured(at=self.now_s, key=key, memory_bytes=memory_bytes))

    @rule(memory_bytes=st.integers(0, 20))
    def measure_idle(self, memory_bytes):
        self.idle_bytes = memory_bytes
        self.tell(IdleMeasured(at=self.now_s, memory_bytes=memory_bytes))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data):
        key = self.some_running(data)
        self.tell(FitFinished(at=self.now_s, key=key, wall_s=1.0, cpu_s=1.0, peak_memory_bytes=1))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), reason=st.sampled_from(["error", "crash", "oom", "timeout", "room"]), retryable=st.booleans())
    def fail(self, data, reason, retryable):
        key = self.some_running(data)
        self.tell(FitFailed(at=self.now_s, key=key, reason=reason, retryable=retryable))

    @precondition(lambda self: self.asked & self.running.keys())
    @rule(data=st.data())
    def stop_one(self, data):
        key = data.draw(st.sampled_from(sorted(self.asked & self.running.keys())))
        self.gone(key)
        self.tell(FitStopped(at=self.now_s, key=key))

    @rule(level=st.sampled_from(HEAT))
    def heat(self, level):
        self.tell(ThermalChanged(at=self.now_s, level=level))

    @rule(level=st.sampled_from(MEMORY))
    def press(self, level):
        self.tell(MemoryChanged(at=self.now_s, level=level))

    @rule(machines=MACHINES)
    def resize(self, machines):
        self.num_resized += 1
        event = resized(self.now_s, machines)
        self.capacity = replace(
            self.capacity,
            cores=max(1, sum(event.cores)),
            slots=sum(event.slots),
            memory_bytes=max(1, sum(event.memory_bytes)),
        )
        self.tell(event)
        homes = [(cores, slots, memory) for cores, slots, memory in machines]
        for key in (*self.state.ready, *self.state.waiting):
            assert any(self.takes(self.state.tasks[key], *home) for home in homes), "it waits for what is gone"

    def takes(self, task, cores, slots, memory_bytes):
        """Whether a machine could hold a task; one that ran out of memory has come back with all of it."""
        fits = task.memory_bytes <= memory_bytes or self.starts[task.key]
        if task.lane == "slot":
            return slots and cores >= self.capacity.slot_host_cores and fits
        return cores >= 1 and fits

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
            key = next(iter(self.running))
            self.gone(key)
            self.tell(FitFinished(at=self.now_s, key=key, wall_s=1.0, cpu_s=1.0, peak_memory_bytes=1))
        assert self.num_finished_told == 1
        assert len(self.state.done) + len(self.state.failed) + len(self.state.skipped) == len(self.state.tasks)
        assert replay(self.lines) == decisions(self.lines)


TestRandomLives = RandomLives.TestCase
TestRandomLives.settings = settings(
    max_examples=300, stateful_step_count=80, deadline=None, suppress_health_check=list(HealthCheck)
)


def resized(at, machines):
    cores, slots, memory_bytes = zip(*machines, strict=True) if machines else ((), (), ())
    return CapacityChanged(at=at, cores=cores, slots=slots, memory_bytes=memory_bytes)


def _long_plan(number):
    rng = random.Random(number)
    for at in range(3000):
        lane = rng.choice(["cores", "cores", "slot"])
        yield Task(
            key=f"k{at}",
            label=f"k{at}",
            family="f",
            engine=rng.choice(["native", "torch", "keras"]),
            lane=lane,
            work_s=rng.lognormvariate(0, 2),
            memory_bytes=rng.randint(0, 40),
            max_threads=rng.randint(1, 4) if lane == "cores" else 1,
            after=tuple({f"k{rng.randrange(at)}" for _ in range(2)}) if at and rng.random() < 0.3 else (),
            deadline_s=rng.choice([None, 3.0]),
        )


def _something_happens(rng, at, state):
    """An event that can be true; mostly fits that end well, or the machine would be hot and full for ever."""
    kinds = {"fit": 75, "heat": 3, "memory": 3, "idle": 4, "time": 15, "node": 0.2}
    (kind,) = rng.choices(list(kinds), list(kinds.values()))
    if kind == "fit" and state.running:
        return _something_happens_to(rng.choice(list(state.running)), rng, at, state)
    if kind == "heat" or (not state.running and state.governors.thermal == "stop"):
        return ThermalChanged(at=at, level=rng.choice(HEAT))
    if kind == "node":
        # There is always a machine that could hold every one of the fits: this life is to finish them.
        return resized(at, [(8, 2, 100), (4, 0, 30)][: rng.choice([1, 2])] + [(2, 1, 20)] * rng.choice([0, 1]))
    if kind == "memory" or not state.running:
        return MemoryChanged(at=at, level=rng.choice(MEMORY))
    return IdleMeasured(at=at, memory_bytes=rng.randint(0, 100)) if kind == "idle" else Tick(at=at)


def _something_happens_to(key, rng, at, state):
    fate = rng.random()
    if fate < 0.15:
        return FitBegan(at=at, key=key)
    if fate < 0.25:
        return FitMeasured(at=at, key=key, memory_bytes=rng.randint(0, 60))
    if state.running[key].asked and fate < 0.6:
        return FitStopped(at=at, key=key)
    if fate < 0.9:
        return FitFinished(at=at, key=key, wall_s=1.0, cpu_s=1.0, peak_memory_bytes=1)
    return FitFailed(at=at, key=key, reason=rng.choice(["error", "crash", "oom", "timeout"]))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_long_life_loses_nothing_does_nothing_twice_and_ends(number):
    rng = random.Random(number)
    state = State(_long_plan(number), Capacity(cores=8, slots=2, memory_bytes=100), settings=Settings(max_passed=8))
    finished, starts, num_killed_for_room = Counter(), Counter(), 0
    event, steps = Tick(at=0.0), 0
    while state.num_unfinished:
        orders = state.handle(event)
        starts.update(one.key for one in orders if isinstance(one, Start))
        num_killed_for_room += sum(isinstance(one, Kill) and one.reason == "room" for one in orders)
        finished.update([event.key] if isinstance(event, FitFinished) else [])
        if steps % 200 == 0:
            state.validate()
        steps += 1
        assert steps < 60_000, f"{state.num_unfinished} fits are starved"
        event = _something_happens(rng, steps / 4, state)
    state.validate()
    assert finished == Counter(state.done)
    assert len(state.done) + len(state.failed) + len(state.skipped) == 3000
    most = max(state.settings.max_tries, state.settings.oom_tries) + state.settings.max_yields
    assert max(starts.values()) <= most + num_killed_for_room
