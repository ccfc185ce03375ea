import pytest

from raytrain.schedule.policy import Policy
from raytrain.schedule.story import decisions, entry, line, opening, read, replay
from raytrain.schedule.words import FitFailed, ScheduleError, StopRequested, ThermalChanged, Tick


@pytest.fixture
def told(make_state, make_task, finish):
    """A state that has lived through something, and its story."""
    tasks = [
        make_task("a", work_s=0.1 + 0.2, deadline_s=9.0),
        make_task("s", lane="slot", after=("a",)),
        make_task("é"),
    ]
    state = make_state(tasks)
    events = [
        Tick(at=0.0),
        FitFailed(at=1.0, key="a", reason="crash"),
        ThermalChanged(at=2.0, level="shrink"),
        Tick(at=20.0),
        FitFailed(at=21.0, key="a", reason="timeout"),
        StopRequested(at=22.0),
    ]
    lines = list(opening(state))
    for event in events:
        lines += entry(event, state.handle(event)).splitlines(keepends=True)
    return state, lines


def test_words_survive_to_the_last_bit(told):
    state, lines = told
    words = list(read(lines))
    assert words[:2] == [state.capacity, state.settings]
    assert words[2:5] == list(state.tasks.values())
    assert [line(word) for word in words] == lines


def test_a_replayed_story_gives_the_same_decisions(told):
    _, lines = told
    assert decisions(lines)
    assert replay(lines) == decisions(lines)


def test_another_policy_decides_otherwise(told):
    class LastFirst(Policy):
        def rank(self, task):
            return (0.0, -float(ord(task.key)), "", 0.0)

    _, lines = told
    assert replay(lines, LastFirst()) != decisions(lines)


def test_a_line_cut_short_at_the_end_is_left_out(told):
    _, lines = told
    cut = [*lines[:-1], lines[-1][:9]]
    assert list(read(cut)) == list(read(lines[:-1]))


@pytest.mark.parametrize("wrong", ["{\n", "[]\n", '{"Tock":{"at":1}}\n', '{"Tick":{"time":1}}\n', "{"])
def test_a_changed_line_is_named(told, wrong):
    _, lines = told
    with pytest.raises(ScheduleError, match="line 2 is no word of a story"):
        list(read([lines[0], wrong, *lines[2:]]))


def test_a_story_without_its_opening_is_refused(told):
    _, lines = told
    with pytest.raises(ScheduleError, match="begins with its capacity"):
        replay(lines[2:])
