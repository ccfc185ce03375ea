"""Start a local Ray shaped like the machine profile, or connect to a running cluster."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any

import psutil
import ray
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.node import Node as RayNode

from raytrain.cluster.address import require_reachable
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.nodes import NAMESPACE, Node, bounded, start_depot, wait_for_nodes
from raytrain.errors import ConfigError, RaytrainError
from raytrain.machine.profile import MachineProfile
from raytrain.schedule.words import Task

NOTE = "ray.json"
OBJECT_STORE_BYTES = 256 * 1024**2
"""Small on purpose: workers are given paths, not arrays."""

_LOOPBACK = "127.0.0.1" if sys.platform == "darwin" else "127.0.0.2"
"""Ray replaces 127.0.0.1 by the network card's address, except on a Mac, which has no other loopback address."""

_TOKEN = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))


_LATE = ("timed out during startup", "Failed to start GCS")
"""How Ray says that it is not up in its own time, in exceptions without a type of their own."""


class RayNotUp(RaytrainError):
    """A Ray of our own did not come up. What is finished is on disk; the same command goes on from there."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that fits can be sent to."""

    address: str
    dashboard: str | None
    """URL, or None when there is none."""
    cores: int
    slots: int
    slot_resource: str
    memory_bytes: int
    counts_pcores: bool
    """Whether its nodes have the resource `pcore`; a foreign cluster counts plain CPUs only."""
    counts_thermal: bool = False
    """Whether its nodes have the resource `thermal`, which heat takes away."""
    nodes: tuple[Node, ...] = ()
    """The machines that fits run on."""
    shared: bool = False
    """Whether it is not our own: machines may be lost and join while a run lasts."""

    def bounded(self, tasks: Iterable[Task]) -> list[Task]:
        """The tasks no wider than one of its nodes.

        Raises:
            CannotFit: no node alone has what a task needs.
        """
        return bounded(tasks, self.nodes) if self.nodes else list(tasks)

    def claim(self, threads: int, memory_bytes: int, slot: bool) -> dict[str, Any]:
        """Ray's options for a fit: CPU and pcore together, so that a stranger's plain-CPU task is counted too."""
        resources: dict[str, float] = {"pcore": threads} if self.counts_pcores else {}
        if self.counts_thermal:
            resources["thermal"] = threads
        options: dict[str, Any] = {"num_cpus": threads, "memory": memory_bytes}
        if slot and self.slot_resource == "GPU":
            options["num_gpus"] = 1
        elif slot and self.counts_pcores:
            resources[self.slot_resource] = 1
        return options | {"resources": resources}


@contextmanager
def open_cluster(profile: MachineProfile, config: ClusterConfig, store: Path) -> Iterator[Cluster]:
    """A running cluster for as long as the `with` lasts.

    A cluster named by RAY_ADDRESS is used and left running; otherwise one is started on loopback and stopped.

    Raises:
        ConfigError: RAY_ADDRESS cannot be reached, or authentication was switched off.
        RayNotUp: one of our own was not up in Ray's time, twice.
    """
    require_cluster(config)
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        sweep(store)
    with _own_umask_and_signals():
        context = _connect(address, config) if address else _start_patiently(profile, config)
    if not address:
        _close_to_others(Path(context.address_info["session_dir"]))
        _remember(store, context)
    # A cluster of our own is one machine; to another, machines without our disk may belong, now or later.
    depot = start_depot(store) if address else None
    try:
        yield _describe(context, profile, config)
    finally:
        del depot
        ray.shutdown()
        if not address:
            (store / NOTE).unlink(missing_ok=True)


def require_cluster(config: ClusterConfig) -> None:
    """Refuse what RAY_ADDRESS and RAY_AUTH_MODE say before any work is done; nothing is started.

    Raises:
        ConfigError: the cluster cannot be reached, or authentication was switched off.
    """
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        raise ConfigError("RAY_AUTH_MODE must not be `disabled`: anyone on the network could run code; unset it")
    if address := os.environ.get("RAY_ADDRESS", ""):
        require_reachable(address, config.connect_timeout_s)


@contextmanager
def _own_umask_and_signals() -> Iterator[None]:
    """Ray writes its files with the umask it finds, and takes SIGTERM for itself."""
    umask = os.umask(0o077)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        os.umask(umask)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _connect(address: str, config: ClusterConfig) -> Any:
    logging.getLogger("ray").setLevel(logging.ERROR)
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        return ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError) as error:
        cause = str(error.__cause__ or error).splitlines()[-1]
        raise ConfigError(f"RAY_ADDRESS must name a cluster that lets us in, got {address}: {cause}") from None


def _start_patiently(profile: MachineProfile, config: ClusterConfig) -> Any:
    """Start Ray, and once more when a busy machine made it miss its own time, which cannot be changed.

    Raises:
        RayNotUp: it missed it again.
    """
    try:
        return _start_whole(profile, config)
    except RayNotUp:
        return _start_whole(profile, config)


def _start_whole(profile: MachineProfile, config: ClusterConfig) -> Any:
    """Start Ray, or leave nothing of it."""
    try:
        return _start(profile, config)
    except Exception as error:  # Ray raises this very type
        if not isinstance(error, TimeoutError) and not any(words in str(error) for words in _LATE):
            raise
        _end_half_started(error)
        raise RayNotUp(
            f"Ray must be up within the time that it gives itself, and was not ({str(error).strip().splitlines()[0]}); "
            "the machine is too busy or short of memory: run the same command again when it has room"
        ) from None


def _end_half_started(error: Exception) -> None:
    """End the processes of a node that did not come up: only the frames in which it was being made still know it.

    `ray.shutdown` ends none of them.
    """
    for frame, _ in walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, RayNode):
            node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)


def _start(profile: MachineProfile, config: ClusterConfig) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # On Linux Ray retries a task that was killed for memory for ever unless it is told not to.
    os.environ.setdefault("RAY_task_oom_retries", "0")
    # Ray makes workers nicer by 15: beside any other busy program fits would get what it leaves. They are as nice as
    # the command that started them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    return ray.init(
        num_cpus=profile.pcores,
        num_gpus=profile.num_gpus,
        resources=profile.custom_resources(),
        _memory=profile.memory_bytes,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=config.dashboard,
        dashboard_host="127.0.0.1",
        _node_ip_address=_LOOPBACK,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _close_to_others(session: Path) -> None:
    """Ray opens its session folder to every user of the machine, and wrote tokens readable by all in the past."""
    for path, mode in ((session, 0o700), (_TOKEN, 0o600)):
        if path.exists() and path.owner() == Path.home().owner():
            path.chmod(mode)


def _describe(context: Any, profile: MachineProfile, config: ClusterConfig) -> Cluster:
    address = context.address_info["address"]
    counts, nodes = wait_for_nodes(profile.slot_resource, config.min_nodes, config.join_timeout_s)
    if len(nodes) < config.min_nodes:
        raise ConfigError(
            f"the cluster at {address} must have cluster.min_nodes = {config.min_nodes} node(s) with cores for fits or "
            f"more, got {len(nodes)} after {config.join_timeout_s:g} s; start more, or lower it"
        )
    url = context.dashboard_url
    return Cluster(
        address=address,
        dashboard=f"http://{url}" if url else None,
        cores=sum(node.cores for node in nodes),
        slots=sum(node.slots for node in nodes),
        slot_resource=counts.slot,
        memory_bytes=sum(node.memory_bytes for node in nodes),
        counts_pcores=counts.pcores,
        counts_thermal=counts.thermal,
        nodes=nodes,
        shared=bool(os.environ.get("RAY_ADDRESS")),
    )


def _remember(store: Path, context: Any) -> None:
    """Note which processes this run has started, so that the next run can end what a killed driver leaves behind."""
    me = psutil.Process()
    session = Path(context.address_info["session_dir"]).name
    started = [_identity(process) for process in me.children(recursive=True)]
    store.mkdir(parents=True, exist_ok=True)
    note = {"session": session, "driver": _identity(me), "started": started}
    (store / NOTE).write_text(json.dumps(note))


def sweep(store: Path) -> int:
    """End the Ray processes of this store's last run if its driver was killed; returns how many there were.

    Two of Ray's agents outlive a killed driver by a minute. Only processes that this driver had started, or that carry
    its session's name, are touched.
    """
    try:
        note = json.loads((store / NOTE).read_text())
        session, driver, started = note["session"], tuple(note["driver"]), {tuple(one) for one in note["started"]}
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    alive = {_identity(process): process for process in psutil.process_iter()}
    if driver in alive:
        return 0
    left = [process for who, process in alive.items() if who in started or session in _command(process)]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    (store / NOTE).unlink(missing_ok=True)
    return len(left)


def _identity(process: psutil.Process) -> tuple[int, float]:
    """Pid and time of birth: a pid alone may have been given to another process since."""
    try:
        return process.pid, process.create_time()
    except psutil.NoSuchProcess:
        return process.pid, 0.0


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
