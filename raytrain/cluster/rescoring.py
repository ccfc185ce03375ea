"""Ask the CPU what it forecasts with the models that an accelerator has trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytrain import families
from raytrain.cluster.config import ClusterConfig
from raytrain.cluster.ray_cluster import Cluster
from raytrain.engines.process import claim, engine_env
from raytrain.evaluation.gates.parity import rescore
from raytrain.work.dataset import Dataset
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore

MEMORY_BYTES = 2 * 2**30


def rescore_all(
    specs: Sequence[FitSpec], cluster: Cluster, config: ClusterConfig, dataset: Path, store: Path
) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """Forecast blocks again on the CPU, each in a process of its engine, on the driver's node, where the models are.

    Args:
        specs: from `raytrain.evaluation.gates.parity.to_rescore`.
        cluster: where they run.
        config: what their processes are told.
        dataset: what the fits have seen.
        store: that keeps their models.

    Returns:
        Key -> the forecasts, and a sentence for each that could not be made; the gates hold its family.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    task = ray.remote(_rescore)
    calls = {}
    for spec in specs:
        env = engine_env(families.get(spec.family).engine, 1, "cpu", config.keras_backend)
        options: dict[str, Any] = cluster.claim(1, MEMORY_BYTES, slot=False)
        options |= {"runtime_env": {"env_vars": env}, "scheduling_strategy": here, "max_retries": 0}
        calls[spec] = task.options(**options, name=f"{spec.label} on the CPU").remote(spec, dataset, store)
    found, notes = {}, []
    for spec, call in calls.items():
        try:
            found[spec.key] = ray.get(call)
        except exceptions.RayError as error:
            notes.append(f"the CPU could not forecast {spec.label} again: {str(error).splitlines()[-1]}")
    return found, notes


def _rescore(spec: FitSpec, dataset: Path, store: Path) -> pl.DataFrame:
    claim(families.get(spec.family).engine)
    return rescore(spec, Dataset.open(dataset), ResultStore(store))
