"""Start a local Ray shaped like the machine profile, or connect to a running cluster."""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import ray

from raytrain.cluster.config import ClusterConfig
from raytrain.errors import ConfigError
from raytrain.machine.profile import MachineProfile

NAMESPACE = "raytrain"
OBJECT_STORE_BYTES = 256 * 1024**2
"""Small on purpose: workers are given paths, not arrays."""

_LOOPBACK = "127.0.0.1" if sys.platform == "darwin" else "127.0.0.2"
"""Ray replaces 127.0.0.1 by the network card's address, except on a Mac, which has no other loopback address."""


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

    def claim(self, threads: int, memory_bytes: int, slot: bool) -> dict[str, Any]:
        """Ray's options for a fit: CPU and pcore together, so that a stranger's plain-CPU task is counted too."""
        resources: dict[str, float] = {"pcore": threads} if self.counts_pcores else {}
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
    """
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        raise ConfigError("RAY_AUTH_MODE must not be `disabled`: anyone on the network could run code; unset it")
    address = os.environ.get("RAY_ADDRESS", "")
    # Ray writes its token and session folder with the umask it finds.
    before = os.umask(0o077)
    try:
        if address:
            _require_reachable(address, config.connect_timeout_s)
            context = ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        else:
            sweep(store)
            context = _start(profile, config)
            _close_to_others(Path(context.address_info["session_dir"]))
            _remember(store, context)
    finally:
        os.umask(before)
    try:
        yield _describe(context, profile)
    finally:
        ray.shutdown()
        if not address:
            (store / "ray.json").unlink(missing_ok=True)


def _start(profile: MachineProfile, config: ClusterConfig) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # On Linux Ray retries a task that was killed for memory for ever unless it is told not to.
    os.environ.setdefault("RAY_task_oom_retries", "0")
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
    for path, mode in ((session, 0o700), (Path.home() / ".ray" / "auth_token", 0o600)):
        if path.exists() and path.owner() == Path.home().owner():
            path.chmod(mode)


def _describe(context: Any, profile: MachineProfile) -> Cluster:
    total = ray.cluster_resources()
    counts_pcores = "pcore" in total
    slot_resource = profile.slot_resource if profile.slot_resource in total else "GPU"
    url = context.dashboard_url
    return Cluster(
        address=context.address_info["address"],
        dashboard=f"http://{url}" if url else None,
        cores=int(total["pcore"] if counts_pcores else total.get("CPU", 1)),
        slots=int(total.get(slot_resource, 0)),
        slot_resource=slot_resource,
        memory_bytes=int(total.get("memory", profile.memory_bytes)),
        counts_pcores=counts_pcores,
    )


def _require_reachable(address: str, timeout_s: float) -> None:
    """Ray itself waits for minutes; a person wants to know at once."""
    if address in ("auto", "local"):
        return
    place = urlsplit(address if "//" in address else f"//{address}")
    if place.hostname is None or place.port is None:
        raise ConfigError(f"RAY_ADDRESS must be host:port, ray://host:port or auto, got {address!r}")
    try:
        socket.create_connection((place.hostname, place.port), timeout=timeout_s).close()
    except OSError as error:
        raise ConfigError(
            f"RAY_ADDRESS must name a running cluster, got {address} ({error}); start it, or unset RAY_ADDRESS"
        ) from None


def _remember(store: Path, context: Any) -> None:
    """Note whose session this is, so that the next run can end what a killed driver leaves behind."""
    me = psutil.Process()
    note = {"session": Path(context.address_info["session_dir"]).name, "pid": me.pid, "created": me.create_time()}
    store.mkdir(parents=True, exist_ok=True)
    (store / "ray.json").write_text(json.dumps(note))


def sweep(store: Path) -> int:
    """End the Ray processes of this store's last run if its driver was killed; returns how many there were.

    Two of Ray's agents outlive a killed driver by a minute. Only processes that carry that session's name are touched.
    """
    try:
        note = json.loads((store / "ray.json").read_text())
        session, pid, created = note["session"], int(note["pid"]), float(note["created"])
    except (OSError, ValueError, KeyError):
        return 0
    if _is_alive(pid, created) or not session.startswith("session_"):
        return 0
    left = [
        process for process in psutil.process_iter(["cmdline"]) if session in " ".join(process.info["cmdline"] or [])
    ]
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=5)
    (store / "ray.json").unlink(missing_ok=True)
    return len(left)


def _is_alive(pid: int, created: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - created) < 1.0
    except psutil.NoSuchProcess:
        return False
