"""Several nodes: counted from what Ray says, then for real, two raylets of one core each on this machine."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from raytrain.cluster import nodes
from raytrain.cluster.nodes import Node, bounded, counted, kill_process, usable
from raytrain.schedule.words import CannotFit, Task
from raytrain.work.store import ResultStore

GIB = 2**30
RAY = shutil.which("ray", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
OFFER = json.dumps({"pcore": 1, "thermal": 1, "mps": 1})
SLOW = ["--params.lightgbm.num_rounds", "100000", "--params.lightgbm.early_stopping_rounds", "100000"]


def ray_node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "NodeManagerHostname": f"{name}.local", "Alive": alive, "Resources": resources}


def offer(found: Sequence[Mapping[str, Any]], slot: str = "mps") -> tuple[Node, ...]:
    return usable(found, counted(found, slot))


def test_each_node_gives_what_its_scarcest_claim_allows() -> None:
    found = offer(
        [
            ray_node("a", CPU=16, pcore=8, thermal=6, mps=2, memory=64 * GIB),
            ray_node("b", CPU=4, pcore=4, thermal=4, memory=8 * GIB),
            ray_node("gone", alive=False, CPU=99, pcore=99, thermal=99),
            ray_node("no cores for fits", CPU=8, memory=8 * GIB),
        ]
    )
    # The last one has no `thermal`, but no `pcore` either, so no fit goes there.
    assert found == (
        Node(name="a", host="a.local", cores=6, slots=2, memory_bytes=64 * GIB),
        Node(name="b", host="b.local", cores=4, slots=0, memory_bytes=8 * GIB),
    )


def test_heat_is_counted_only_where_all_nodes_do() -> None:
    found = [ray_node("a", CPU=4, pcore=4, thermal=4), ray_node("b", CPU=4, pcore=4)]
    assert not counted(found, "mps").thermal
    assert [node.cores for node in offer(found)] == [4, 4]
    assert counted(found[:1], "mps").thermal


def test_a_foreign_cluster_counts_cpus_and_gpus() -> None:
    found = [ray_node("head", CPU=0, memory=GIB), ray_node("b", CPU=8, GPU=2, memory=GIB)]
    counts = counted(found, "mps")
    assert (counts.pcores, counts.thermal, counts.slot) == (False, False, "GPU")
    assert [(node.name, node.cores, node.slots) for node in offer(found)] == [("b", 8, 2)]


def task(**differs: Any) -> Task:
    given = {"key": "k", "label": "lightgbm", "family": "f", "engine": "native", "work_s": 1.0, "memory_bytes": GIB}
    return Task(**given | differs)


LARGE_MEMORY = Node(name="a", host="a", cores=4, slots=0, memory_bytes=64 * GIB)
MANY_CORES = Node(name="b", host="b", cores=16, slots=1, memory_bytes=8 * GIB)


def test_a_fit_is_no_wider_than_a_node_that_can_hold_it() -> None:
    tasks = [task(max_threads=32), task(max_threads=32, memory_bytes=32 * GIB), task(max_threads=2)]
    assert [one.max_threads for one in bounded(tasks, [LARGE_MEMORY, MANY_CORES])] == [16, 4, 2]


def test_a_fit_that_no_node_alone_can_hold_is_refused_with_the_number() -> None:
    with pytest.raises(CannotFit, match=r"lightgbm needs 70.00 GiB .* the largest node of 2 gives 64.00 GiB"):
        bounded([task(memory_bytes=70 * GIB)], [LARGE_MEMORY, MANY_CORES])


def test_a_fit_for_the_slot_needs_its_memory_where_a_slot_is() -> None:
    with pytest.raises(CannotFit, match=r"largest node with an accelerator slot of 2 gives 8.00 GiB"):
        bounded([task(memory_bytes=32 * GIB, lane="slot")], [LARGE_MEMORY, MANY_CORES])


@pytest.mark.parametrize(
    ("claim", "fits"),
    [
        ({"num_cpus": 4, "memory": 10, "resources": {"pcore": 4}}, True),
        ({"num_cpus": 5, "memory": 10, "resources": {"pcore": 5}}, False),
        ({"num_cpus": 1, "memory": 101, "resources": {}}, False),
        ({"num_cpus": 1, "memory": 10, "resources": {"pcore": 1, "mps": 1}}, False),
        ({"num_cpus": 1, "memory": 10, "num_gpus": 1, "resources": {}}, False),
    ],
)
def test_room_is_looked_for_among_the_nodes_that_live(
    claim: dict[str, Any], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        ray_node("a", CPU=4, pcore=4, memory=100),
        ray_node("gone", alive=False, CPU=64, pcore=64, mps=1, GPU=8, memory=1e12),
    ]
    monkeypatch.setattr(nodes.ray, "nodes", lambda: found)
    assert nodes.has_room(claim) is fits


def test_a_run_waits_for_its_nodes_and_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    joining = [ray_node("a", CPU=1, memory=GIB), ray_node("b", CPU=1, memory=GIB)]
    looks = iter([joining[:1], joining[:1], joining])
    monkeypatch.setattr(nodes, "_JOIN_POLL_S", 0.0)
    monkeypatch.setattr(nodes.ray, "nodes", lambda: next(looks))
    assert len(nodes.wait_for_nodes("mps", 2, 60)[1]) == 2
    looks = iter([joining[:1]])
    assert len(nodes.wait_for_nodes("mps", 2, 0)[1]) == 1


def test_a_process_is_killed_only_if_it_is_the_one_that_was_named() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        born = psutil.Process(process.pid).create_time()
        assert not kill_process(process.pid, born - 100)
        assert process.poll() is None
        assert kill_process(process.pid, born)
    assert process.returncode == -signal.SIGKILL
    assert not kill_process(process.pid, born)


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass
class Network:
    """Where the second node lives."""

    head_ip: str
    node_ip: str
    prefix: tuple[str, ...] = ()
    """What runs a command there."""


@pytest.fixture
def loopback() -> Iterator[Network]:
    """The second node shares everything, and is told to keep files of its own."""
    number = os.getpid() % 200 + 20
    yield Network(f"127.0.{number}.2", f"127.0.{number}.3")


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Network]:
    """The second node has a network, a host name and mounts of its own; the driver's store is not there."""
    name, number = f"raytrain{os.getpid()}", os.getpid() % 200 + 20
    inside, outside = f"rt{os.getpid()}i"[:15], f"rt{os.getpid()}o"[:15]
    head_ip, node_ip = f"10.231.{number}.1", f"10.231.{number}.2"
    if not shutil.which("ip") or not _run("ip", "netns", "add", name):
        pytest.skip("network namespaces need root and iproute2")
    try:
        made = (
            _run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            and _run("ip", "addr", "add", f"{head_ip}/24", "dev", outside)
            and _run("ip", "link", "set", outside, "up")
            and _run("ip", "-n", name, "addr", "add", f"{node_ip}/24", "dev", inside)
            and _run("ip", "-n", name, "link", "set", inside, "up")
            and _run("ip", "-n", name, "link", "set", "lo", "up")
        )
        if not made:
            pytest.skip("this kernel gives no pair of virtual network cards")
        hide = f'hostname second && mount -t tmpfs none {tmp_path} && exec "$@"'
        yield Network(head_ip, node_ip, ("ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", hide, "sh"))
    finally:
        _run("ip", "link", "del", outside)
        _run("ip", "netns", "del", name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Machines:
    """Two raylets."""

    network: Network
    node_root: Path
    address: str
    env: dict[str, str]
    home: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *options: str, prefix: Sequence[str] = (), env: Mapping[str, str] | None = None) -> int:
        """Start a raylet of one core."""
        command = [*prefix, str(RAY), "start", "--block", "--disable-usage-stats", "--num-cpus=1", "--num-gpus=0"]
        command += ["--resources", OFFER, f"--memory={3 * GIB}", f"--object-store-memory={80 * 2**20}", *options]
        log = (self.home / f"{len(self.started)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                command,
                env=self.env | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process.pid

    def stop(self) -> None:
        """End all of it."""
        everyone = [child for one in self.started for child in _children(one.pid)]
        for one in reversed(self.started):
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
        for child in everyone:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(everyone, timeout=10)
        for one in self.started:
            one.wait()

    def raylet(self, number: int) -> psutil.Process:
        """The raylet of a node: 0 the head, 1 the second."""
        return next(one for one in _children(self.started[number].pid) if "raylet" in one.name())


def _children(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def machines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, job_env: dict[str, str]
) -> Iterator[Machines]:
    """A cluster of two nodes; the second does not share the driver's disk."""
    if sys.platform == "darwin":
        pytest.skip("Ray supports one node on macOS")
    kind = getattr(request, "param", "loopback")
    network: Network = request.getfixturevalue(kind)
    home = Path("/tmp") / f"rt{secrets.token_hex(4)}"  # sockets have short names
    home.mkdir(mode=0o700)
    # A token of its own: the person's is not touched.
    env = job_env | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0"}
    found = Machines(network, home / "node", f"{network.head_ip}:{_free_port()}", env, home)
    try:
        port = found.address.rpartition(":")[2]
        found.start(
            *("--head", f"--port={port}", f"--node-ip-address={network.head_ip}", f"--temp-dir={home}/ray"),
            *("--include-dashboard=false", f"--ray-client-server-port={_free_port()}"),
        )
        _until(lambda: _answers(found.address), "the head does not answer", found)
        own = {"HOME": str(home)} if network.prefix else {"RAYTRAIN_NODE_ROOT": str(found.node_root)}
        if network.prefix:
            found.node_root = home / ".cache" / "raytrain"
        found.start(
            *(f"--address={found.address}", f"--node-ip-address={network.node_ip}"), prefix=network.prefix, env=own
        )
        _until(lambda: _num_nodes(found) == 2, "the second node does not join", found)
        yield found
    finally:
        found.stop()
        shutil.rmtree(home, ignore_errors=True)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _num_nodes(machines: Machines) -> int:
    ask = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(len(ray.nodes()))"
    done = subprocess.run(
        [sys.executable, "-c", ask, machines.address], env=machines.env, capture_output=True, text=True, check=False
    )
    return int(done.stdout.strip() or 0) if done.returncode == 0 else 0


def _until(what: Callable[[], Any], failing: str, machines: Machines, seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        if any(one.poll() is not None for one in machines.started):
            break
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(machines.home.glob("*.log")))
    raise AssertionError(f"{failing}\n{logs}")


@pytest.fixture
def on_both(machines: Machines) -> dict[str, str]:
    """What a job's environment says to run on both nodes."""
    given = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    return {"RAY_ADDRESS": machines.address} | {name: machines.env[name] for name in given}


def predictions(store: Path) -> dict[str, pl.DataFrame]:
    """Key -> what every finished fit of a store predicted, after a look at its checksums."""
    results = ResultStore(store)
    keys = [facts["key"] for facts in results.results()]
    assert results.finished(keys) == set(keys)
    return {key: results.predictions(key) for key in keys}


@pytest.mark.cluster
@pytest.mark.parametrize("machines", ["loopback", "namespace"], indirect=True)
def test_fits_go_to_a_node_without_the_drivers_disk_and_their_results_come_home(
    machines: Machines,
    on_both: dict[str, str],
    daily: Callable[..., Any],
    tiny: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    options = [*tiny, "--families", "naive,har,lightgbm,ensemble", "--params.lightgbm.num_rounds", "300"]
    options += ["--params.ensemble.members", '["naive", "har"]']
    done = daily(options, **on_both)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Ray at {machines.address}: 2 cores" in done.stdout
    fits = summary()["fits"]
    assert fits["ok"] == fits["total"] > 20
    store = tmp_path / "store"
    far = predictions(store)
    assert len(far) == fits["total"]

    # The second node did its part: the data is there once, its results are not.
    assert len(list((machines.node_root / "prepared").glob("[!.]*"))) == 1
    assert not list(machines.node_root.glob("incoming/*"))
    assert not list(machines.node_root.glob("inflight/*"))
    assert not list((store / "inflight").iterdir())
    hosts = {facts["environment"]["host"] for facts in ResultStore(store).results()}
    assert len(hosts) == (2 if machines.network.prefix else 1)

    shutil.rmtree(store)
    assert daily(options).returncode == 0
    near = predictions(store)
    assert near.keys() == far.keys()
    assert all(near[key].equals(far[key]) for key in near), "to the bit, whatever the node"


def _inflight(store: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in store.glob("inflight/*.json"):
        with suppress(OSError, ValueError):
            found[path.stem] = json.loads(path.read_text())
    return found


def _on_second(machines: Machines, store: Path) -> set[str]:
    """Fits under way in workers of the second node."""
    raylet = machines.raylet(1)
    pids = {child.pid for child in raylet.children(recursive=True)}
    return {key for key, who in _inflight(store).items() if who["pid"] in pids}


def _lasting(store: Path) -> set[str]:
    """Fits that were under way a moment ago and still are: none of those that take milliseconds."""
    before = set(_inflight(store))
    time.sleep(1.5)
    return before & set(_inflight(store))


@pytest.mark.cluster
def test_a_lost_node_costs_only_the_fits_in_flight(
    machines: Machines,
    on_both: dict[str, str],
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    store = tmp_path / "store"
    options = [*tiny, "--families", "naive,lightgbm", "--params.lightgbm.num_rounds", "2500"]
    options += ["--params.lightgbm.early_stopping_rounds", "2500"]
    with start_daily(options, **on_both) as process:
        _until(lambda: len(list(store.glob("fits/*/[!.]*"))) >= 4 and _on_second(machines, store), "no fit", machines)
        lost = _on_second(machines, store)
        before = {path: path.stat().st_mtime_ns for path in store.glob("fits/*/[!.]*/result.json")}
        machines.raylet(1).kill()
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    fits = summary()["fits"]
    assert fits["ok"] == fits["total"] == 14
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished fit was run again"
    assert lost <= set(predictions(store))


STRANGER = """
import json, sys, time
import ray

ray.init(address=sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1)
def trial():
    began = time.time()
    time.sleep(2)
    return began, time.time()

print(json.dumps(ray.get([trial.remote() for _ in range(6)])))
"""


@pytest.mark.cluster
def test_a_strangers_trials_and_our_fits_share_the_cores(
    machines: Machines,
    on_both: dict[str, str],
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    options = [*tiny, "--families", "naive,lightgbm", "--params.lightgbm.num_rounds", "1500"]
    options += ["--params.lightgbm.early_stopping_rounds", "1500"]
    command = [sys.executable, "-c", STRANGER, machines.address]
    with start_daily(options, **on_both) as process:
        _until(lambda: _inflight(store), "no fit", machines)
        trials = subprocess.run(command, env=machines.env, capture_output=True, text=True, check=True).stdout
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    strange = [tuple(one) for one in json.loads(trials.splitlines()[-1])]
    rows = pl.read_parquet(store / "latest" / "fits.parquet").filter(pl.col("start_s").is_not_null())
    started = _began_at(store)
    ours = [(started[row["key"]] - row["wall_s"], started[row["key"]]) for row in rows.iter_rows(named=True)]
    assert _most_at_once(strange) > 0
    assert _most_at_once([*strange, *ours]) <= 2, "two cores, never three of them busy"
    assert any(begin < other_end and other_begin < end for begin, end in strange for other_begin, other_end in ours)


def _began_at(store: Path) -> dict[str, float]:
    """Key -> when its result was there, by the wall clock."""
    return {path.parent.name: path.stat().st_mtime for path in store.glob("fits/*/[!.]*/predictions.parquet")}


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    busy = most = 0
    for _, step in steps:
        busy += step
        most = max(most, busy)
    return most


@pytest.mark.cluster
@pytest.mark.parametrize("machines", ["namespace"], indirect=True)
def test_a_signal_stops_the_fits_of_all_nodes(
    machines: Machines,
    on_both: dict[str, str],
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    store = tmp_path / "store"
    with start_daily([*tiny, "--families", "naive,lightgbm", *SLOW], **on_both) as process:
        _until(lambda: _on_second(machines, store), "no fit on the second node", machines)
        _until(lambda: len(_inflight(store)) == 2, "no fit on both nodes", machines)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, out + err
    seen = summary()
    assert seen["status"] == "stopped"
    assert seen["fits"]["ok"] == len(predictions(store))
    # A process that is killed leaves its note behind, one that reaches a safe point takes it away.
    assert not _inflight(store)
    assert not list((machines.node_root / "inflight").iterdir())


@pytest.mark.cluster
@pytest.mark.parametrize("machines", ["namespace"], indirect=True)
def test_a_fit_that_hears_nothing_any_more_is_killed_on_its_node(
    machines: Machines,
    on_both: dict[str, str],
    start_daily: Callable[..., subprocess.Popen[str]],
    tiny: list[str],
    tmp_path: Path,
    summary: Callable[[], dict[str, Any]],
) -> None:
    store = tmp_path / "store"
    options = [*tiny, "--families", "naive,lightgbm", "--folds.num_folds", "1", *SLOW, "--cluster.timeout_s", "8"]
    with start_daily(options, **on_both) as process:
        key = _until(lambda: _lasting(store) & _on_second(machines, store), "no fit there", machines).pop()
        hung = psutil.Process(_inflight(store)[key]["pid"])
        # Like a hang in native code: it answers neither a question nor Ray's wish that it end.
        hung.suspend()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 3, out + err
    assert summary()["fits"]["timeout"] == 2
    assert not hung.is_running()
