"""What a trial claims of the cluster: what the daily job's fits claim, so that both share it without crowding."""

from collections.abc import Mapping
from typing import Any

import ray

from raytrain.cluster.nodes import Node, counted, has_room, usable
from raytrain.cluster.ray_cluster import Cluster
from raytrain.errors import ConfigError
from raytrain.machine.profile import GIB, MachineProfile
from raytrain.tuning.config import TuneConfig
from raytrain.tuning.problem import Problem, Run

_HERE = 0.001
"""Of the driver's node: a trial reads its store, and a probe measures this machine. A thousand of them fit."""


def resources(run: Run, family: str, target: str, config: TuneConfig | None = None, *, threads: int = 1) -> Any:
    """A trial's claim, for `tune.with_resources`.

    Args:
        run: what `raytrain.pipeline.prepare` gives.
        family: its name.
        target: its name.
        config: how is searched; the defaults when not given.
        threads: of each fit.

    Returns:
        A `PlacementGroupFactory`: an empty place beside the driver for the trial itself, and the cores, the memory and,
        for a neural family, the accelerator slot for its fits.

    Raises:
        ConfigError: no machine of the cluster could ever hold it.
    """
    return factory(Problem.of(run, family, target, config or TuneConfig()), joined(run.profile), threads)


def joined(profile: MachineProfile) -> Cluster:
    """The cluster that this process is connected to."""
    found = ray.nodes()
    counts = counted(found, profile.slot_resource)
    nodes = usable(found, counts)
    return Cluster(
        address=ray.get_runtime_context().gcs_address,
        dashboard=None,
        cores=sum(node.cores for node in nodes),
        slots=sum(node.slots for node in nodes),
        slot_resource=counts.slot,
        memory_bytes=sum(node.memory_bytes for node in nodes),
        counts_pcores=counts.pcores,
        counts_thermal=counts.thermal,
        nodes=nodes,
    )


def factory(problem: Problem, cluster: Cluster, threads: int = 1) -> Any:
    """The claim of a trial of `problem`; see `resources`."""
    from ray.tune import PlacementGroupFactory

    claim = cluster.claim(threads, problem.memory_bytes, slot=problem.lane == "slot")
    if not has_room(claim):
        raise ConfigError(
            f"a trial of {problem.family} needs {threads} core(s) and {problem.memory_bytes / GIB:.2f} GiB on one "
            "machine of the cluster, none has as much; narrow tune.space, or use a larger machine"
        )
    return PlacementGroupFactory([here(), bundle(claim)], strategy="PACK")


def num_at_once(problem: Problem, cluster: Cluster, threads: int = 1) -> int:
    """Trials that the cluster has room for."""
    return max(1, sum(_on(node, problem, threads) for node in cluster.nodes))


def _on(node: Node, problem: Problem, threads: int) -> int:
    room = min(node.cores // threads, node.memory_bytes // problem.memory_bytes)
    return min(room, node.slots) if problem.lane == "slot" else room


def bundle(claim: Mapping[str, Any]) -> dict[str, float]:
    """Options for Ray, as `Cluster.claim` gives them, as a flat bundle."""
    named = {"CPU": claim["num_cpus"], "GPU": claim.get("num_gpus", 0), "memory": claim["memory"]}
    return {name: number for name, number in (named | claim["resources"]).items() if number}


def here() -> dict[str, float]:
    """A bundle that only the machine of this process has."""
    me = ray.get_runtime_context().get_node_id()
    (node,) = [node for node in ray.nodes() if node["NodeID"] == me]
    name = next(name for name in node["Resources"] if name.startswith("node:") and "internal" not in name)
    return {str(name): _HERE}
