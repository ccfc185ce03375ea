"""The driver and its governors on a real Ray of two cores, with stand-ins for fits that do as they are told."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from raytrain.cluster import driver as driver_module
from raytrain.cluster import hands as hands_module
from raytrain.cluster import senses as senses_module
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.driver import Driver, Report, Status, as_task, deadline_s
from raytrain.cluster.ray_cluster import Cluster, open_cluster
from raytrain.cluster.senses import Senses
from raytrain.engines.base import Needs, Shape
from raytrain.folds import Fold
from raytrain.machine.profile import MachineProfile
from raytrain.machine.sensors import HEAT_FILE, Memory, find_heat_sensor
from raytrain.machine.world import World
from raytrain.schedule.story import decisions, replay
from raytrain.schedule.words import CapacityChanged, EndIdle, FitBegan, IdleMeasured, Kill, ReleaseSlot, Reserve, Task
from raytrain.work.plan import PlannedFit
from raytrain.work.spec import FitSpec

pytestmark = pytest.mark.cluster

PROFILE = MachineProfile(name="test", pcores=2, memory_gb=4, slot="cpu")
GIB, MIB = 2**30, 2**20
PLENTY = Memory(total_bytes=4 * GIB, available_bytes=2 * GIB, swap_used_bytes=0, pressure="normal")


def stand_in() -> Callable[[Any], Any]:
    """What workers run in place of `worker.execute`; all inside one function, so that it travels to them as a whole."""

    def execute(order: Any) -> Any:
        import ctypes
        import json
        import os
        import signal
        import time

        from raytrain.cluster.worker import Outcome
        from raytrain.work.inflight import Inflight

        told = json.loads(order.spec.params)
        progress = order.store / order.spec.family
        began = time.time()

        def outcome(status: str) -> Outcome:
            cost = {"wall_s": 0.1, "cpu_s": 0.1, "peak_memory_bytes": 1}
            worker, now = f"here:{os.getpid()}", time.time()
            return Outcome(key=order.spec.key, status=status, worker=worker, started_at=began, ended_at=now, cost=cost)

        with Inflight.enter(order.store, order.spec.key) as inflight:
            if told.get("hang"):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                # Holds the interpreter, as a loop in native code does.
                ctypes.PyDLL(None).sleep(600)
            eaten = b"\1" * told.get("eat", 0)
            done = len(progress.read_bytes()) if progress.exists() else 0
            while done < told.get("steps", 0):
                time.sleep(0.1)
                done += 1
                progress.write_bytes(b"." * done)
                if inflight.should_stop() and not eaten:
                    return outcome("stopped")
        return outcome("ok")

    return execute


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        # Ray ends idle processes by itself after a second when there are more than cores; here that is our part.
        patch.setenv("RAY_idle_worker_killing_time_threshold_ms", "600000")
        with open_cluster(PROFILE, ClusterConfig(dashboard=False), tmp_path_factory.mktemp("cluster")) as cluster:
            yield cluster


def fit(name: str, engine: Any = "native", **told: Any) -> PlannedFit:
    spec = FitSpec(
        family=name,
        family_version=1,
        packages=(),
        params=json.dumps(told),
        target="return_1d",
        target_configs=("{}",),
        task="regression",
        quantiles=(0.5,),
        fold=Fold(name="2018", train_start=None, cutoff=1, test_start=2, test_end=3),
        seed=42,
        device="cpu",
        features_hash="",
        labels_hash="",
        block_hash="",
        series_hash="",
    )
    shape, needs = Shape(rows=1, features=1), Needs(memory_bytes=1, work=1.0)
    return PlannedFit(spec=spec, engine=engine, lane="cores", shape=shape, needs=needs)


@dataclass
class Machine:
    """A machine whose heat and memory a test plays."""

    store: Path
    cluster: Cluster
    memory: Memory = PLENTY
    story: io.StringIO = field(default_factory=io.StringIO)
    seen: list[Status] = field(default_factory=list)

    def heat(self, degrees: float) -> None:
        (self.store / "heat").write_text(str(degrees))

    def press(self, pressure: Any) -> None:
        self.memory = replace(self.memory, pressure=pressure)

    def steps(self, name: str) -> int:
        """How far a fit has come."""
        path = self.store / name
        return len(path.read_bytes()) if path.exists() else 0

    def run(self, *fits: PlannedFit, play: Callable[[], None] | None = None, **tasks: dict[str, Any]) -> Report:
        """Run fits to their end while `play` goes on beside; `tasks` are what the scheduler is told of each."""
        by_name = {one.spec.family: one for one in fits}
        player = threading.Thread(target=play or (lambda: None))
        sensor = find_heat_sensor(World(environ={HEAT_FILE: str(self.store / "heat")}))
        with Senses(sensor, lambda: self.memory) as senses:
            driver = Driver(
                cluster=self.cluster,
                config=ClusterConfig(),
                fits={one.spec.key: one for one in fits},
                tasks=[_task(one, tasks.get(name, {})) for name, one in by_name.items()],
                dataset=self.store,
                store=self.store,
                story=self.story,
                senses=senses,
                watch=self.seen.append,
                stop_requested=lambda: False,
                work=stand_in(),
            )
            player.start()
            report = driver.run()
            player.join(timeout=30)
        lines = self.story.getvalue().splitlines(keepends=True)
        assert replay(lines) == decisions(lines)
        return report

    def told(self) -> list[Any]:
        """What was decided, in order."""
        return decisions(self.story.getvalue().splitlines(keepends=True))


def _task(one: PlannedFit, told: dict[str, Any]) -> Task:
    key, name = one.spec.key, one.spec.family
    usual = {"work_s": 1.0, "memory_bytes": 100 * MIB, "after": ()}
    return Task(key=key, label=name, family=name, engine=one.engine, **(usual | told))


@pytest.fixture
def machine(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(senses_module, "MEMORY_EVERY_S", 0.1)
    machine = Machine(tmp_path, cluster)
    machine.heat(50)
    return machine


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def statuses(report: Report, one: PlannedFit) -> list[str]:
    return [ran.status for ran in report.ran if ran.key == one.spec.key]


def free_tokens() -> float:
    return float(ray.available_resources().get("thermal", 0.0))


def test_a_hang_that_ignores_signals_is_killed_by_pid_and_the_others_finish(machine: Machine) -> None:
    hung, well = fit("hung", hang=True), fit("well", steps=40)
    report = machine.run(hung, well, hung={"deadline_s": 2.0})
    assert statuses(report, hung) == ["timeout"]
    assert statuses(report, well) == ["ok"]
    assert report.failures[hung.spec.key].exception == "Timeout: killed after 2 s"
    assert Kill(hung.spec.key, "timeout") in machine.told()
    assert not list((machine.store / "inflight").iterdir())


def test_a_fit_that_waits_for_a_stranger_is_not_charged_for_it(machine: Machine) -> None:
    @ray.remote(num_cpus=2)
    def stranger(seconds: float) -> None:
        import time

        time.sleep(seconds)

    call = stranger.remote(4.0)
    until(lambda: ray.available_resources().get("CPU", 0.0) == 0.0)
    one = fit("one", steps=2)
    report = machine.run(one, one={"deadline_s": 2.0})
    ray.get(call)
    assert statuses(report, one) == ["ok"]
    (ran,) = report.ran
    assert ran.ended_s > 2.0
    assert machine.seen[0].running == (("one return_1d 2018 s42", "cores", 0.0),)


def test_what_waits_for_a_machine_that_is_gone_ends_with_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote(num_cpus=2)
    def stranger(seconds: float) -> None:
        import time

        time.sleep(seconds)

    class Lost:
        """Of two machines the larger one is gone."""

        def __init__(self) -> None:
            self.at = [1.0]

        def look(self, now: float) -> Iterator[CapacityChanged]:
            while self.at and now >= self.at[0]:
                self.at.pop()
                yield CapacityChanged(at=now, cores=(2,), slots=(0,), memory_bytes=(GIB,))

    monkeypatch.setattr(driver_module, "_watch", lambda *_: Lost())
    call = stranger.remote(6.0)
    until(lambda: ray.available_resources().get("CPU", 0.0) == 0.0)
    large, waits, small = fit("large", steps=1), fit("waits", steps=1), fit("small", steps=1)
    report = machine.run(
        large, waits, small, large={"memory_bytes": 3 * GIB, "work_s": 9.0}, waits={"after": (large.spec.key,)}
    )
    ray.get(call)
    assert Kill(large.spec.key, "room") in machine.told()
    failure = report.failures[large.spec.key]
    assert failure.exception == "NoRoom: it needs a core and 3.00 GiB on one machine, and none that is left has it"
    assert report.skipped[waits.spec.key].cause == large.spec.key
    assert statuses(report, small) == ["ok"]


def played_slot() -> type:
    """What holds the slot in place of `worker.Slot`."""
    work = stand_in()

    class Played:
        def __init__(self, engine: str) -> None:
            self.engine = engine

        def execute(self, order: Any) -> Any:
            assert order.engine == self.engine
            return work(order)

    return Played


def test_the_slots_process_takes_one_fit_after_another_while_the_cores_work(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands_module, "Slot", played_slot())
    nets = [fit(name, engine="torch", steps=10) for name in ("one", "two")]
    other, tree = fit("other", engine="keras", steps=3), fit("tree", steps=25)
    slot = {name: {"lane": "slot"} for name in ("one", "two", "other")}
    report = machine.run(*nets, other, tree, **slot)
    assert report.failures == {}
    ran = {one.key: one for one in report.ran}
    first, second = sorted((ran[net.spec.key] for net in nets), key=lambda one: one.started_s)
    assert {one.lane for one in (first, second)} == {"slot"}
    assert first.ended_s <= second.started_s
    workers = [ran[one.spec.key].outcome.worker for one in (*nets, other, tree)]
    assert workers[0] == workers[1], "it keeps its process while its engine has work"
    assert len(set(workers)) == 3
    assert ran[tree.spec.key].started_s < first.ended_s, "the cores do not wait for the slot"
    assert len([order for order in machine.told() if isinstance(order, ReleaseSlot)]) == 2
    until(lambda: ray.available_resources().get("mps") == 1.0)


def test_heat_stops_what_runs_keeps_the_tokens_and_lets_it_go_on_when_cool(machine: Machine) -> None:
    hot: list[Any] = []

    def play() -> None:
        until(lambda: machine.steps("net") > 3)
        machine.heat(97)
        until(lambda: machine.seen[-1].held_back_by == "heat" and not machine.seen[-1].running)
        hot.append(until(lambda: free_tokens() == 0.0))
        hot.append(machine.steps("net"))
        machine.heat(88)
        time.sleep(1.0)
        hot.append((machine.steps("net"), machine.seen[-1].heat.level))
        machine.heat(84)
        until(lambda: machine.seen[-1].running)
        hot.append(machine.seen[-1].heat.level)
        machine.heat(79)
        until(lambda: machine.seen[-1].heat.level == "watch")

    net = fit("net", steps=60)
    report = machine.run(net, play=play)
    assert statuses(report, net) == ["yielded", "ok"]
    _, at_stop, still, level = hot
    assert 3 < at_stop < 60
    assert still == (at_stop, "stop"), "below 95 is not cool enough"
    assert level == "shrink", "84 is not below 80"
    assert [one.tokens for one in machine.told() if isinstance(one, Reserve)] == [2, 1, 0]
    until(lambda: free_tokens() == 2.0)


def test_shrinking_keeps_half_of_the_tokens_from_strangers_too(machine: Machine) -> None:
    seen: list[float] = []

    def play() -> None:
        until(lambda: machine.steps("a") > 3)
        machine.heat(90)
        until(lambda: machine.seen[-1].heat.level == "shrink")
        until(lambda: machine.steps("b") >= 5 and machine.steps("a") < 60)
        seen.append(until(lambda: free_tokens() == 0.0))

    report = machine.run(fit("a", steps=60), fit("b", steps=5), play=play)
    assert seen and report.failures == {}


def test_under_growing_pressure_the_largest_makes_room_and_goes_on_later(machine: Machine) -> None:
    def play() -> None:
        until(lambda: machine.steps("large") > 3 and machine.steps("small") > 3)
        machine.press("warn")
        machine.memory = replace(machine.memory, swap_used_bytes=GIB)
        until(lambda: len(machine.seen[-1].running) == 1)
        machine.memory = replace(machine.memory, pressure="normal", swap_used_bytes=0)

    large, small = fit("large", steps=50), fit("small", steps=50)
    report = machine.run(large, small, play=play, large={"memory_bytes": GIB})
    assert statuses(report, large) == ["yielded", "ok"]
    assert statuses(report, small) == ["ok"]


def test_in_need_the_fit_over_its_estimate_is_killed_and_has_one_more_try_alone(machine: Machine) -> None:
    def play() -> None:
        until(lambda: machine.steps("greedy") > 3 and machine.steps("honest") > 3)
        machine.press("critical")
        until(lambda: len(machine.seen[-1].running) == 1)
        machine.press("normal")

    greedy, honest = fit("greedy", steps=60, eat=600 * MIB), fit("honest", steps=60)
    wide = {"memory_bytes": GIB}
    report = machine.run(greedy, honest, play=play, greedy={"memory_bytes": 300 * MIB}, honest=wide)
    assert statuses(report, greedy) == ["oom", "ok"]
    assert statuses(report, honest) == ["ok"]
    assert machine.told().count(Kill(greedy.spec.key, "oom")) == 1
    started = {ran.key: ran.started_s for ran in report.ran}
    ended = {ran.key: ran.ended_s for ran in report.ran}
    assert started[greedy.spec.key] >= ended[honest.spec.key], "it was not alone"


def test_an_idle_process_is_ended_when_its_memory_is_needed(machine: Machine) -> None:
    first, pause, large = fit("first"), fit("pause", steps=20), fit("large", engine="torch", steps=1)
    report = machine.run(
        first,
        pause,
        large,
        pause={"memory_bytes": 200 * MIB},
        large={"memory_bytes": 4 * GIB - 10 * MIB, "after": (pause.spec.key,)},
    )
    assert report.failures == {}
    assert EndIdle() in machine.told()
    workers = {ran.key: int(ran.outcome.worker.partition(":")[2]) for ran in report.ran if ran.outcome}
    assert workers[first.spec.key] != workers[large.spec.key]
    assert not psutil.pid_exists(workers[first.spec.key])
    events = machine.story.getvalue()
    assert IdleMeasured.__name__ in events and FitBegan.__name__ in events


@pytest.mark.parametrize(
    ("work_s", "budget_s", "expected"),
    [(1.0, None, 120.0), (30.0, None, 300.0), (30.0, 500.0, 560.0), (9999.0, None, 3600.0)],
)
def test_a_deadline_comes_from_what_is_expected(work_s: float, budget_s: float | None, expected: float) -> None:
    assert deadline_s(work_s, budget_s, 3600.0) == expected


def test_a_prior_alone_kills_nobody_early() -> None:
    one = fit("one")
    tasks = [as_task(one, 1.0, 1, 3600.0, learned=learned) for learned in (False, True)]
    assert [task.deadline_s for task in tasks] == [3600.0, 120.0]
