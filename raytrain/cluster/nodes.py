"""The machines of a cluster: what each gives to fits, and how fits come and go where the driver's disk is not."""

import functools
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain.machine.profile import GIB
from raytrain.schedule.words import CannotFit, Task
from raytrain.work.fetch import Depot, NodeStore, StoreDepot
from raytrain.work.inflight import Inflight

NAMESPACE = "raytrain"
NODE_ROOT = "RAYTRAIN_NODE_ROOT"
"""Where a node keeps copies of its own. Where it is set, the driver's store is never read by its path; where it is not,
`~/.cache/raytrain` is used by the nodes on which that path does not lead to the driver's store."""

_SIGN = ".depot"
"""A file of the driver's store whose content tells it from a folder of the same name."""
_CALL_S = 120.0
_JOIN_POLL_S = 1.0
_ASK_EVERY_S = 1.0
_KILL_S = 15.0


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a cluster, as far as fits may use it."""

    name: str
    """Its id in Ray."""
    host: str
    cores: int
    slots: int
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Which of raytrain's own resources a cluster counts; a foreign one counts plain CPUs only."""

    pcores: bool
    thermal: bool
    slot: str
    """The resource behind the slot."""


def counted(found: Sequence[Mapping[str, Any]], slot_resource: str) -> Counted:
    """What `ray.nodes()` says of the resources of the nodes that are alive."""
    offers = [node["Resources"] for node in found if node["Alive"]]
    ours = [offer for offer in offers if offer.get("pcore")]
    return Counted(
        pcores=bool(ours),
        thermal=bool(ours) and all(offer.get("thermal") for offer in ours),
        slot=slot_resource if any(offer.get(slot_resource) for offer in offers) else "GPU",
    )


def usable(found: Sequence[Mapping[str, Any]], counts: Counted) -> tuple[Node, ...]:
    """The nodes that are alive and have a core for fits.

    Args:
        found: what `ray.nodes()` says.
        counts: a core is what a fit claims on this cluster, so the scarcest of these bounds it.
    """
    claimed = ["CPU", *["pcore"] * counts.pcores, *["thermal"] * counts.thermal]
    nodes = [
        Node(
            name=node["NodeID"],
            host=node["NodeManagerHostname"],
            cores=int(min(node["Resources"].get(name, 0) for name in claimed)),
            slots=int(node["Resources"].get(counts.slot, 0)),
            memory_bytes=int(node["Resources"].get("memory", 0)),
        )
        for node in found
        if node["Alive"]
    ]
    return tuple(node for node in nodes if node.cores)


def wait_for_nodes(slot_resource: str, least: int, timeout_s: float) -> tuple[Counted, tuple[Node, ...]]:
    """The nodes for fits, when there are `least` of them or the time is over."""
    end = time.monotonic() + timeout_s
    while True:
        found = ray.nodes()
        counts = counted(found, slot_resource)
        nodes = usable(found, counts)
        if len(nodes) >= least or time.monotonic() >= end:
            return counts, nodes
        time.sleep(_JOIN_POLL_S)


def has_room(claim: Mapping[str, Any]) -> bool:
    """Whether a node that is alive could ever hold a claim, were it empty.

    Args:
        claim: options for Ray, as `Cluster.claim` gives them.
    """
    wanted = {"CPU": claim.get("num_cpus", 0), "GPU": claim.get("num_gpus", 0), "memory": claim.get("memory", 0)}
    wanted |= claim.get("resources", {})
    return any(
        all(node["Resources"].get(name, 0) >= number for name, number in wanted.items())
        for node in ray.nodes()
        if node["Alive"]
    )


def bounded(tasks: Iterable[Task], nodes: Sequence[Node]) -> list[Task]:
    """The tasks no wider than a node that can take them: a fit never spans two.

    Raises:
        CannotFit: no node alone has what a task needs.
    """
    return [replace(task, max_threads=min(task.max_threads, _widest(task, nodes))) for task in tasks]


def _widest(task: Task, nodes: Sequence[Node]) -> int:
    offering = [node for node in nodes if node.slots or task.lane != "slot"]
    widths = [node.cores for node in offering if node.memory_bytes >= task.memory_bytes]
    if not widths:
        largest = max((node.memory_bytes for node in offering), default=0)
        where = "node with an accelerator slot" if task.lane == "slot" else "node"
        raise CannotFit(
            f"{task.label} needs {task.memory_bytes / GIB:.2f} GiB of memory on one node, the largest {where} of "
            f"{len(nodes)} gives {largest / GIB:.2f} GiB; make the fit smaller or add a larger node"
        )
    return max(widths)


def start_depot(store: Path) -> Any:
    """Offer the store to nodes that do not share its disk, for as long as the handle is held."""
    sign = secrets.token_hex(16)
    store.mkdir(parents=True, exist_ok=True)
    (store / _SIGN).write_text(sign)
    here = ray.get_runtime_context().get_node_id()
    depot = (
        ray.remote(_DepotActor)
        .options(
            name=_depot_name(),
            num_cpus=0,
            max_concurrency=8,
            max_restarts=-1,
            max_task_retries=3,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        .remote(store.absolute(), sign)
    )
    ray.get(depot.about.remote(), timeout=_CALL_S)
    return depot


def _answer(call: Any) -> Any:
    """What a call gives, waited for in a thread beside.

    A task that waits in its own thread gives its core away meanwhile, and when it goes on nobody gives one back: a
    stranger's task and ours would share it.
    """
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(ray.get, call, timeout=_CALL_S).result()


def _depot_name() -> str:
    return f"depot of job {ray.get_runtime_context().get_job_id()}"


class _DepotActor(StoreDepot):
    """The depot in a process of its own on the driver's node."""

    def __init__(self, root: Path, sign: str) -> None:
        os.umask(0o077)
        super().__init__(root)
        self._sign = sign

    def about(self) -> tuple[str, str]:
        """The node, and the sign in the store."""
        return ray.get_runtime_context().get_node_id(), self._sign


class _RemoteDepot:
    """The depot as seen from a worker on another node."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def _call(self, name: str, *given: Any) -> Any:
        return _answer(getattr(self._actor, name).remote(*given))

    def names(self, prefix: str) -> list[str]:
        return list(self._call("names", prefix))

    def digests(self, folder: str) -> dict[str, str]:
        return dict(self._call("digests", folder))

    def read(self, file: str, offset: int) -> bytes:
        return bytes(self._call("read", file, offset))

    def write(self, parcel: str, file: str, offset: int, data: bytes) -> None:
        self._call("write", parcel, file, offset, data)

    def keep(self, parcel: str, folder: str, digests: Mapping[str, str]) -> None:
        self._call("keep", parcel, folder, dict(digests))

    def begin(self, key: str, who: str) -> None:
        self._call("begin", key, who)

    def asked(self, key: str) -> bool:
        return bool(self._call("asked", key))

    def end(self, key: str) -> None:
        self._call("end", key)


@functools.cache
def node_store(store: Path) -> NodeStore | None:
    """This worker's own copies of the driver's store; None where it reads and writes the store itself."""
    if not ray.is_initialized():
        return None
    try:
        actor = ray.get_actor(_depot_name(), NAMESPACE)
    except ValueError:
        return None  # a cluster of one machine has no depot
    node, sign = _answer(actor.about.remote())
    if node == ray.get_runtime_context().get_node_id() or (NODE_ROOT not in os.environ and _is_signed(store, sign)):
        return None
    root = Path(os.environ.get(NODE_ROOT, Path.home() / ".cache" / "raytrain"))
    found = NodeStore(root, _RemoteDepot(actor))
    found.sweep()
    return found


def _is_signed(store: Path, sign: str) -> bool:
    try:
        return (store / _SIGN).read_text() == sign
    except OSError:
        return False


@contextmanager
def shown(node: NodeStore | None, inflight: Inflight) -> Iterator[None]:
    """Show a fit under way in the driver's store too, and pass on the stop that is asked for there."""
    if node is None:
        yield
        return
    depot, key, done = node.depot, inflight.path.stem, threading.Event()
    depot.begin(key, inflight.path.read_text())
    thread = threading.Thread(target=_pass_on_stop, args=(depot, inflight.path, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        depot.end(key)


def _pass_on_stop(depot: Depot, path: Path, done: threading.Event) -> None:
    while not done.wait(_ASK_EVERY_S):
        if depot.asked(path.stem):
            path.with_suffix(".stop").touch()
            return


def kill_there(store: Path, key: str) -> bool:
    """Kill the process that works on `key` on another node; False when there is none, or it cannot be reached.

    A hang in native code holds the interpreter, and outlives even what Ray does by force.
    """
    try:
        who = json.loads((store / "inflight" / f"{key}.json").read_text())
        host, pid, created = str(who["host"]), int(who["pid"]), float(who["created"])
    except (OSError, ValueError, KeyError):
        return False
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeManagerHostname"] == host]
    if not nodes or host == socket.gethostname():
        return False
    there = NodeAffinitySchedulingStrategy(nodes[0]["NodeID"], soft=False)
    call = ray.remote(kill_process).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(pid, created)
    try:
        return bool(ray.get(call, timeout=_KILL_S))
    except ray.exceptions.RayError:
        return False


def kill_process(pid: int, created: float) -> bool:
    """Kill a process of this host if it is still the one that was born at `created`."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) >= 1.0:
            return False
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True
