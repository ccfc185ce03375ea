"""The service on a Vertex AI endpoint: the same container, uploaded as a model and deployed."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, field_validator

from raytrain.config import Section
from raytrain.deploy import gcloud
from raytrain.deploy.cloud_run import REGION, require_project
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Runtime
from raytrain.deploy.google import credentials, refusals
from raytrain.deploy.smoke import DeployFailed, Smoke, as_columns
from raytrain.deploy.steps import Step
from raytrain.deploy.wire import from_rows
from raytrain.errors import ConfigError

HEALTH, PREDICT, PORT = "/healthz", "/vertex/predict", 8080
PREDICT_S = 120.0
_NAME = re.compile(r"[\w -]{1,100}", re.ASCII)


class VertexConfig(Section):
    """A model and an endpoint of Vertex AI."""

    project: str = ""
    """Google Cloud project."""
    location: str = "europe-west1"
    """Region."""
    name: str = "raytrain"
    """Display name of model and endpoint; an endpoint of that name is used again."""
    image: str = ""
    """Container that is built already, by digest or tag; built from source into `repository` when not given."""
    repository: str = "raytrain"
    """Artifact Registry repository for the container; it must be there."""
    machine_type: str = "n1-standard-2"
    """Of an instance."""
    min_replicas: int = Field(1, ge=1)
    """Instances that always run, and cost."""
    max_replicas: int = Field(1, ge=1)
    """Most instances."""
    service_account: str | None = None
    """Account that the container runs as."""
    deploy_s: float = Field(3600.0, gt=0)
    """Seconds that an upload or a deployment may take."""
    api_endpoint: str | None = None
    """A stand-in server to ask instead of Google; it gets no credentials."""

    @field_validator("location")
    @classmethod
    def _is_a_region(cls, name: str) -> str:
        if not REGION.fullmatch(name):
            raise ValueError("must be a region, as `europe-west1`")
        return name

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):  # it becomes part of a filter
            raise ValueError("must be up to 100 letters, digits, spaces, _ and -")
        return name

    def require_project(self) -> None:
        """Raises ConfigError without one."""
        require_project(self.project, "vertex.project")

    @property
    def parent(self) -> str:
        """Where it all lies."""
        return f"projects/{self.project}/locations/{self.location}"


def image_of(bundle: Bundle, config: VertexConfig) -> str:
    """The container's name: given, or after the bundle."""
    host = f"{config.location}-docker.pkg.dev"
    return config.image or f"{host}/{config.project}/{config.repository}/service:{bundle.digest[:12]}"


def build_command(bundle: Bundle, source: Path, config: VertexConfig) -> tuple[str, ...]:
    """The command that builds the container."""
    where = (f"--project={config.project}", f"--region={config.location}")
    return ("gcloud", "builds", "submit", str(source), f"--tag={image_of(bundle, config)}", *where, "--quiet")


def vertex_steps(bundle: Bundle, source: Path | None, config: VertexConfig) -> list[Step]:
    """What `deploy_vertex` does."""
    build = [] if source is None else [Step("build the container", build_command(bundle, source, config))]
    place = f"{config.parent}/endpoints"
    return [
        *build,
        Step("upload the model", call=f"POST {config.parent}/models:upload", body=_model(bundle, config)),
        Step("find or make the endpoint", call=f"GET, POST {place}", body={"display_name": config.name}),
        Step("deploy with all traffic", call=f"POST {place}/ID:deployModel", body=_deployed("MODEL", config)),
        Step("compare a forecast with the bundle's own; where it differs, put the former model back"),
        Step("undeploy the former model", call=f"POST {place}/ID:undeployModel"),
    ]


def _model(bundle: Bundle, config: VertexConfig) -> dict[str, Any]:
    return {
        "display_name": config.name,
        "description": f"{bundle.spec.family} for {', '.join(bundle.spec.target_names)}, bundle {bundle.digest}",
        "labels": {"bundle": bundle.digest[:60], "family": bundle.spec.family.replace(" ", "_")},
        "container_spec": {
            "image_uri": image_of(bundle, config),
            "ports": [{"container_port": PORT}],
            "predict_route": PREDICT,
            "health_route": HEALTH,
        },
    }


def _deployed(model: str, config: VertexConfig) -> dict[str, Any]:
    machine = {"machine_type": config.machine_type}
    replicas = {"min_replica_count": config.min_replicas, "max_replica_count": config.max_replicas}
    account = {} if config.service_account is None else {"service_account": config.service_account}
    resources = {"machine_spec": machine, **replicas}
    return {"model": model, "display_name": config.name, "dedicated_resources": resources, **account}


def deploy_vertex(bundle: Bundle, runtime: Runtime, source: Path | None, config: VertexConfig, smoke: Smoke) -> str:
    """Build, upload, deploy, compare; the former model goes only once the new one is right.

    Returns:
        A sentence about the comparison.

    Raises:
        ConfigError: no credentials, or the package google-cloud-aiplatform is not there.
        DeployFailed: Vertex AI refuses or does not answer, or the endpoint forecasts otherwise.
    """
    clients = Clients(config)
    if source is not None:
        gcloud.require_gcloud()
        gcloud.run(build_command(bundle, source, config))
    with refusals("Vertex AI", config.parent):
        model = clients.upload(_model(bundle, config))
        endpoint = clients.endpoint()
        with clients.replacing(endpoint, _deployed(model, config)):
            told = smoke.compare(clients.predict(endpoint.name, smoke), runtime, endpoint.name)
    return told


class Clients:
    """Vertex AI over REST."""

    def __init__(self, config: VertexConfig) -> None:
        self._config = config
        try:
            from google.cloud import aiplatform_v1
        except ImportError:
            raise ConfigError(
                "deploying to vertex needs google-cloud-aiplatform; install raytrain with the extra `gcp`"
            ) from None
        self._api: Any = aiplatform_v1
        self._options = {
            "transport": "rest",
            "credentials": credentials(config.api_endpoint),
            "client_options": {"api_endpoint": config.api_endpoint or f"{config.location}-aiplatform.googleapis.com"},
        }

    @cached_property
    def _endpoints(self) -> Any:
        return self._api.EndpointServiceClient(**self._options)

    def upload(self, model: dict[str, Any]) -> str:
        """The name of the new model."""
        client = self._api.ModelServiceClient(**self._options)
        done = client.upload_model(parent=self._config.parent, model=model)
        return str(done.result(timeout=self._config.deploy_s).model)

    def endpoint(self) -> Any:
        """The endpoint of this name, made where there is none."""
        named = f'display_name="{self._config.name}"'
        asked = {"parent": self._config.parent, "filter": named}
        for found in self._endpoints.list_endpoints(request=asked):
            return found
        made = self._endpoints.create_endpoint(parent=self._config.parent, endpoint={"display_name": self._config.name})
        return made.result(timeout=self._config.deploy_s)

    @contextmanager
    def replacing(self, endpoint: Any, deployed: dict[str, Any]) -> Iterator[None]:
        """Give a model all traffic; when the block fails, it goes and the former ones get theirs back."""
        former, split = [one.id for one in endpoint.deployed_models], dict(endpoint.traffic_split)
        done = self._endpoints.deploy_model(endpoint=endpoint.name, deployed_model=deployed, traffic_split={"0": 100})
        new = done.result(timeout=self._config.deploy_s).deployed_model.id
        with ExitStack() as failed:
            failed.callback(self._undeploy, endpoint.name, [new], split)
            yield
            failed.pop_all()
        self._undeploy(endpoint.name, former, {new: 100})

    def _undeploy(self, endpoint: str, ids: Sequence[str], split: dict[str, int]) -> None:
        """Take models away and leave the traffic to others."""
        for one in ids:
            done = self._endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=one, traffic_split=split)
            done.result(timeout=self._config.deploy_s)

    def predict(self, endpoint: str, smoke: Smoke) -> pl.DataFrame:
        """What the endpoint forecasts."""
        json_format: Any = import_module("google.protobuf.json_format")
        value: Any = import_module("google.protobuf.struct_pb2").Value
        columns = as_columns(smoke.rows)
        instances = [
            json_format.ParseDict(dict(zip(columns, row, strict=True)), value())
            for row in zip(*columns.values(), strict=True)
        ]
        client = self._api.PredictionServiceClient(**self._options)
        answer = client.predict(endpoint=endpoint, instances=instances, timeout=PREDICT_S)
        rows = [dict(one) for one in answer.predictions]
        if not rows:
            raise DeployFailed(f"{endpoint} must forecast, got nothing")
        return from_rows(rows, smoke.expected)
