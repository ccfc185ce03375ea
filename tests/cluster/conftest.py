"""Two raylets of one core each on this machine, of which the second does not share the driver's disk."""

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

import psutil
import pytest

GIB = 2**30
RAY = shutil.which("ray", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
OFFER = json.dumps({"pcore": 1, "thermal": 1, "mps": 1})


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

    def until(self, what: Callable[[], Any], failing: str, seconds: float = 90) -> Any:
        """The first true answer of `what`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            if any(one.poll() is not None for one in self.started):
                break
            time.sleep(0.1)
        logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.home.glob("*.log")))
        raise AssertionError(f"{failing}\n{logs}")

    def on_second(self, store: Path) -> set[str]:
        """Fits under way in workers of the second node."""
        pids = {child.pid for child in self.raylet(1).children(recursive=True)}
        return {key for key, who in self.inflight(store).items() if who["pid"] in pids}

    @staticmethod
    def inflight(store: Path) -> dict[str, dict[str, Any]]:
        """Key -> who works on it."""
        found = {}
        for path in store.glob("inflight/*.json"):
            with suppress(OSError, ValueError):
                found[path.stem] = json.loads(path.read_text())
        return found


def _children(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def machines(request: pytest.FixtureRequest, job_env: dict[str, str]) -> Iterator[Machines]:
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
        found.until(lambda: _answers(found.address), "the head does not answer")
        own = {"HOME": str(home)} if network.prefix else {"RAYTRAIN_NODE_ROOT": str(found.node_root)}
        if network.prefix:
            found.node_root = home / ".cache" / "raytrain"
        found.start(
            *(f"--address={found.address}", f"--node-ip-address={network.node_ip}"), prefix=network.prefix, env=own
        )
        found.until(lambda: _num_nodes(found) == 2, "the second node does not join")
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


@pytest.fixture
def on_both(machines: Machines) -> dict[str, str]:
    """What a job's environment says to run on both nodes."""
    given = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    return {"RAY_ADDRESS": machines.address} | {name: machines.env[name] for name in given}
