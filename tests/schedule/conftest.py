import pytest

from raytrain.schedule.state import State
from raytrain.schedule.words import Capacity, FitFinished, Start, Task


@pytest.fixture
def make_task():
    """Tasks by key; in the slot they are of torch unless said otherwise."""

    def make(key, *, work_s=1.0, memory_bytes=1, engine=None, lane="cores", **fields):
        return Task(
            key=key,
            label=f"fit {key}",
            family="any",
            engine=engine or ("torch" if lane == "slot" else "native"),
            lane=lane,
            work_s=work_s,
            memory_bytes=memory_bytes,
            **fields,
        )

    return make


@pytest.fixture
def make_capacity():
    def make(cores=2, slots=1, memory_bytes=100, slot_host_cores=1):
        return Capacity(cores=cores, slots=slots, memory_bytes=memory_bytes, slot_host_cores=slot_host_cores)

    return make


@pytest.fixture
def make_state(make_capacity):
    """States whose invariants are checked after every event and once more when the test ends."""
    states = []

    class Checked(State):
        def handle(self, event):
            instructions = super().handle(event)
            self.validate()
            return instructions

    def make(tasks, capacity=None, **kwargs):
        states.append(Checked(tasks, capacity or make_capacity(), **kwargs))
        return states[-1]

    yield make
    for state in states:
        state.validate()


@pytest.fixture
def finish():
    """Report fits as finished, one after another; the instructions of all."""

    def report(state, *keys, at=1.0):
        ends = [FitFinished(at=at, key=key, wall_s=1.0, cpu_s=1.0, peak_memory_bytes=1) for key in keys]
        return [instruction for end in ends for instruction in state.handle(end)]

    return report


@pytest.fixture
def started():
    """The keys that instructions start, in order."""

    def keys(instructions):
        return [instruction.key for instruction in instructions if isinstance(instruction, Start)]

    return keys
