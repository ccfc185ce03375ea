"""Where forecasts are made or kept: `python -m raytrain.jobs.deploy --target TARGET --bundle DIR [--execute]`.

TARGET is local, cloud_run, vertex or bigquery; instead of --bundle, --store DIR --champion TARGET names the bundle in
production. Without --execute, what would run is printed and kept below --out, and nothing is run. With it, it is run,
and a forecast of what was deployed is compared with the bundle's own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from raytrain.config import Settings
from raytrain.deploy import gcloud
from raytrain.deploy.bigquery import bigquery_steps, deploy_bigquery
from raytrain.deploy.chosen import choose_bundle, choose_runtime
from raytrain.deploy.cloud_run import CloudRunConfig, cloud_run_steps, deploy_cloud_run
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Runtime
from raytrain.deploy.kept import BigQueryTarget, to_keep
from raytrain.deploy.local import LocalConfig, local_steps, run_until_stopped
from raytrain.deploy.server import require_packages
from raytrain.deploy.smoke import prepare_smoke
from raytrain.deploy.source import write_source
from raytrain.deploy.steps import Step, write_plan
from raytrain.deploy.vertex import VertexConfig, deploy_vertex, vertex_steps
from raytrain.jobs import _command


class DeployConfig(Settings):
    """What to deploy, and where."""

    target: Literal["local", "cloud_run", "vertex", "bigquery"]
    """Where to."""
    bundle: Path | None = None
    """Folder of the bundle."""
    store: Path | None = None
    """Store whose champion is deployed."""
    champion: str = ""
    """The target whose champion is deployed, as `return_1w`."""
    runtime: Runtime | None = None
    """`native` or `onnx`; when not given, native on this machine, and a graph elsewhere where the bundle has one."""
    data: Path | None = None
    """Raw rows for the comparison, and for the forecasts that BigQuery keeps; invented ones when not given."""
    forecasts: Path | None = None
    """A run's forecast.parquet, which BigQuery keeps instead of a bundle's."""
    out: Path = Path("deploys")
    """Folder for what would run, and for what it needs."""
    local: LocalConfig = LocalConfig()
    """The service on this machine."""
    cloud_run: CloudRunConfig = CloudRunConfig()
    """The service on Cloud Run."""
    vertex: VertexConfig = VertexConfig()
    """The service on a Vertex AI endpoint."""
    bigquery: BigQueryTarget = BigQueryTarget()
    """The forecasts as a table, and the graph as a model."""


def deploy(config: DeployConfig, options: argparse.Namespace) -> int:
    """Tell what would run, or run it."""
    act = {"local": _local, "cloud_run": _cloud_run, "vertex": _vertex, "bigquery": _bigquery}[config.target]
    act(config, options.execute)
    return _command.OK


def _local(config: DeployConfig, execute: bool) -> None:
    require_packages()
    bundle, runtime = _chosen(config, elsewhere=False)
    _tell(config, bundle, local_steps(bundle, runtime, config.local), execute)
    if execute:
        run_until_stopped(bundle, runtime, config.local, prepare_smoke(bundle, config.data))


def _cloud_run(config: DeployConfig, execute: bool) -> None:
    config.cloud_run.require_project()
    bundle, runtime = _chosen(config, elsewhere=True)
    source = write_source(config.out, bundle, runtime)
    _tell(config, bundle, cloud_run_steps(source, config.cloud_run), execute)
    if execute:
        gcloud.require_gcloud()
        smoke = prepare_smoke(bundle, config.data)
        print(deploy_cloud_run(bundle, runtime, source, config.cloud_run, smoke))


def _vertex(config: DeployConfig, execute: bool) -> None:
    config.vertex.require_project()
    bundle, runtime = _chosen(config, elsewhere=True)
    source = None if config.vertex.image else write_source(config.out, bundle, runtime)
    _tell(config, bundle, vertex_steps(bundle, source, config.vertex), execute)
    if execute:
        smoke = prepare_smoke(bundle, config.data)
        print(deploy_vertex(bundle, runtime, source, config.vertex, smoke))


def _bigquery(config: DeployConfig, execute: bool) -> None:
    config.bigquery.require_project()
    bundle = None if config.forecasts else _chosen(config, elsewhere=False)[0]
    kept = to_keep(bundle, config.forecasts, config.data, config.bigquery)
    _tell(config, bundle, bigquery_steps(kept, config.bigquery), execute)
    if execute:
        for told in deploy_bigquery(kept, config.bigquery):
            print(told)


def _chosen(config: DeployConfig, *, elsewhere: bool) -> tuple[Bundle, Runtime]:
    bundle = choose_bundle(config.bundle, config.store, config.champion)
    return bundle, choose_runtime(bundle, config.runtime, elsewhere=elsewhere)


def _tell(config: DeployConfig, bundle: Bundle | None, steps: Sequence[Step], execute: bool) -> None:
    plan = write_plan(config.out / config.target, bundle, steps)
    for line in (line for step in steps for line in step.lines()):
        print(line)
    print(f"kept in {plan}" + ("" if execute else "; nothing was run, --execute runs it"), flush=True)


if __name__ == "__main__":
    _command.main(DeployConfig, deploy, __doc__ or "", ("execute",))
