import pytest

from raytrain.schedule.nodes import at_once
from raytrain.schedule.policy import POLICIES
from raytrain.schedule.simulate import predicted, simulate
from raytrain.schedule.whatif import IN_STAGES, Question, what_if
from raytrain.schedule.words import CannotFit, Settings


@pytest.fixture
def ask(make_task):
    """Trees on cores, nets in the slot, and a mixture of both, in two stages and more."""
    trees = [make_task(f"tree{n}", work_s=1 + n % 4, memory_bytes=10) for n in range(24)]
    nets = [make_task(f"net{n}", work_s=5, lane="slot", memory_bytes=20) for n in range(6)]
    mixed = [make_task("mixed", work_s=1, after=("tree0", "net0"))]

    def make(nodes=1):
        return Question(
            tasks=[*trees, *nets, *mixed],
            stages=[trees, nets, mixed],
            durations=predicted,
            starts=at_once,
            settings=Settings(),
            nodes=nodes,
        )

    return make


def test_every_policy_and_every_machine_is_compared(ask, make_capacity):
    machines = {"small": make_capacity(2), "large": make_capacity(8, 2)}
    found = what_if(ask(), "large", machines)
    assert [one.name for one in found.policies] == [*POLICIES, IN_STAGES]
    assert [one.name for one in found.machines] == ["large", "small"]
    assert found.machines[0].makespan_s == found.policies[0].makespan_s == found.chosen.makespan_s
    assert found.machines[1].makespan_s > found.machines[0].makespan_s
    for one in (*found.policies, *found.machines):
        assert one.makespan_s >= one.lower_bound_s
        assert 0 < one.utilisation <= 1


def test_lanes_side_by_side_beat_stages(ask, make_capacity):
    stages = what_if(ask(), "here", {"here": make_capacity(2)}).policies[-1]
    whole = simulate(ask().tasks, make_capacity(2))
    assert stages.makespan_s > 1.2 * whole.makespan_s


def test_several_nodes_stand_beside_one(ask, make_capacity):
    found = what_if(ask(nodes=4), "mini", {"mini": make_capacity(2), "pro": make_capacity(4)})
    assert [one.name for one in found.machines] == ["4 x mini", "mini", "4 x pro"]
    assert found.machines[0].makespan_s < found.machines[1].makespan_s
    assert {placed.node for placed in found.chosen.timeline} == {0, 1, 2, 3}


def test_a_machine_that_is_too_small_says_why(ask, make_capacity):
    machines = {"fits": make_capacity(), "tiny": make_capacity(memory_bytes=15)}
    found = what_if(ask(), "fits", machines)
    assert found.machines[1].makespan_s is None
    assert "the machine gives" in found.machines[1].bottleneck
    with pytest.raises(CannotFit, match="the machine gives"):
        what_if(ask(), "tiny", machines)


def test_no_task_takes_no_time(make_capacity):
    nothing = Question(tasks=[], stages=[], durations=predicted, starts=at_once, settings=Settings())
    found = what_if(nothing, "here", {"here": make_capacity()})
    assert {one.makespan_s for one in (*found.policies, *found.machines)} == {0.0}
