"""The service on Cloud Run, which answers only to callers that are known."""

import re
from pathlib import Path

from pydantic import Field, field_validator

from raytrain.config import Section
from raytrain.deploy import gcloud
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Runtime
from raytrain.deploy.smoke import DeployFailed, Smoke, ask
from raytrain.deploy.steps import Step
from raytrain.errors import ConfigError

NAME = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?", re.ASCII)
PROJECT = re.compile(r"[a-z][-a-z0-9.:]{4,61}[a-z0-9]", re.ASCII)
REGION = re.compile(r"[a-z]+-[a-z]+\d+", re.ASCII)


class CloudRunConfig(Section):
    """A Cloud Run service."""

    project: str = ""
    """Google Cloud project."""
    region: str = "europe-west1"
    """Where it runs."""
    service: str = "raytrain"
    """Its name: small letters, digits and -."""
    memory_mib: int = Field(2048, ge=512)
    """Memory of an instance."""
    cpus: int = Field(1, ge=1, le=8)
    """Processors of an instance; one request is worked on at a time."""
    max_instances: int = Field(3, ge=1)
    """Most instances at once: a bound on what it costs."""
    timeout_s: int = Field(150, ge=10, le=3600)
    """Seconds that a request may take."""
    service_account: str | None = None
    """Account that it runs as, best one without any role; the project's default when not given."""

    @field_validator("service")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("must begin with a small letter, then up to 48 small letters, digits and -")
        return name

    @field_validator("region")
    @classmethod
    def _is_a_region(cls, name: str) -> str:
        if not REGION.fullmatch(name):
            raise ValueError("must be a region, as `europe-west1`")
        return name

    def require_project(self) -> None:
        """Raises ConfigError without one: a guess would deploy to whichever project is at hand."""
        require_project(self.project, "cloud_run.project")


def require_project(project: str, key: str) -> None:
    """See that a project is named.

    Raises:
        ConfigError: none, or no name of one.
    """
    if not PROJECT.fullmatch(project):
        raise ConfigError(f"`{key}` must be the id of a Google Cloud project, got {project!r}; add --{key} ID")


def cloud_run_steps(source: Path, config: CloudRunConfig) -> list[Step]:
    """What `deploy_cloud_run` does."""
    return [
        Step("build the container and deploy it; callers must be authenticated", _deploy(source, config)),
        Step("ask where it is", _describe(config)),
        Step("a token that says who is asking", TOKEN),
        Step("compare a forecast with the bundle's own", call="POST <url>/predict"),
    ]


TOKEN = ("gcloud", "auth", "print-identity-token")


def _deploy(source: Path, config: CloudRunConfig) -> tuple[str, ...]:
    account = () if config.service_account is None else (f"--service-account={config.service_account}",)
    return (
        *("gcloud", "run", "deploy", config.service, f"--source={source}"),
        *_where(config),
        "--no-allow-unauthenticated",
        *(f"--memory={config.memory_mib}Mi", f"--cpu={config.cpus}", f"--timeout={config.timeout_s}"),
        # One at a time, and one that waits while the next instance starts.
        *("--concurrency=2", f"--max-instances={config.max_instances}"),
        "--startup-probe=httpGet.path=/healthz,periodSeconds=5,failureThreshold=48",
        *account,
        "--quiet",
    )


def _describe(config: CloudRunConfig) -> tuple[str, ...]:
    return ("gcloud", "run", "services", "describe", config.service, *_where(config), "--format=value(status.url)")


def _where(config: CloudRunConfig) -> tuple[str, str]:
    return f"--project={config.project}", f"--region={config.region}"


def deploy_cloud_run(bundle: Bundle, runtime: Runtime, source: Path, config: CloudRunConfig, smoke: Smoke) -> str:
    """Deploy, then compare.

    Returns:
        A sentence about the comparison.

    Raises:
        DeployFailed: a command fails, or the service forecasts otherwise.
    """
    gcloud.run(_deploy(source, config))
    url = gcloud.run(_describe(config))
    if not url:
        raise DeployFailed(f"Cloud Run must say where {config.service} is, got nothing; look at it in the console")
    found = ask(url, smoke.rows, smoke.expected, gcloud.run(TOKEN), bundle=bundle.digest)
    return smoke.compare(found, runtime, url)
