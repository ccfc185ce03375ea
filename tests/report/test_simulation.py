import pytest

from raytrain.report.simulation import SimulationView, bars, fits_table, render_simulation
from raytrain.schedule.nodes import at_once
from raytrain.schedule.simulate import predicted
from raytrain.schedule.whatif import Question, Scenario, what_if
from raytrain.schedule.words import Capacity, Settings, Task


def make_tasks(num):
    return [
        Task(
            key=f"k{n}",
            label=f"<fit> {n}",
            family=f"family {n % 3}",
            engine="torch" if n % 4 == 0 else "native",
            lane="slot" if n % 4 == 0 else "cores",
            work_s=1.0 + n % 5,
            memory_bytes=10**8,
        )
        for n in range(num)
    ]


@pytest.fixture
def make_view():
    def make(num=12, nodes=1):
        tasks = make_tasks(num)
        question = Question(
            tasks=tasks, stages=[tasks], durations=predicted, starts=at_once, settings=Settings(), nodes=nodes
        )
        machines = {
            "mine": Capacity(cores=2, slots=1, memory_bytes=10**9),
            "tiny": Capacity(cores=1, slots=1, memory_bytes=10),
        }
        found = what_if(question, "mine", machines)
        return SimulationView(source="<bars>", machine="mine", nodes=nodes, found=found, tasks=tasks, num_learned=num)

    return make


def test_the_page_shows_the_timeline_and_both_tables(make_view):
    view = make_view()
    page = render_simulation(view)
    assert page == render_simulation(view)
    assert page.count("<svg") == 1 and page.count("<title>&lt;fit&gt;") == 12
    for one in (*view.found.policies, *view.found.machines):
        assert f">{one.name}</th>" in page
    assert "the machine gives 0.00 GiB" in page
    assert "&lt;bars&gt;" in page and "<bars>" not in page
    assert "12 fits on mine" in page and "held up by" in page
    assert "http" not in page.replace("http://www.w3.org", "") and "<script" not in page


def test_a_track_belongs_to_one_node(make_view):
    view = make_view(nodes=2)
    fits = fits_table(view.found.chosen, view.tasks, 2)
    assert set(fits["lane"]) == {"node 1 cores", "node 1 slot", "node 2 cores", "node 2 slot"}
    page = render_simulation(view)
    assert "12 fits on 2 x mine" in page and "never spans two nodes" in page
    assert "never spans two nodes" not in render_simulation(make_view())


def test_bars_are_shares_of_the_longest():
    def scenario(name, makespan_s):
        return Scenario(name=name, makespan_s=makespan_s, utilisation=0.5, lower_bound_s=1.0, bottleneck="cores")

    shares = [share for _, share in bars([scenario("a", 4.0), scenario("b", 1.0), scenario("c", None)])]
    assert shares == [1.0, 0.25, None]
    assert bars([scenario("a", 0.0)])[0][1] == 0.0
    assert bars([]) == []


def test_an_empty_plan_is_a_page_too(make_view):
    assert "No fit is planned." in render_simulation(make_view(num=0))
