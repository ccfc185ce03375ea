"""A container's source that serves without the training stack, and a deployment through `gcloud`."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytrain.deploy import cloud_run
from raytrain.deploy.cloud_run import CloudRunConfig, cloud_run_steps, deploy_cloud_run
from raytrain.deploy.contents import Bundle
from raytrain.deploy.local import LocalConfig, run_local, serve_command, started
from raytrain.deploy.requirements import requirements
from raytrain.deploy.smoke import DeployFailed, ask, call, prepare_smoke
from raytrain.deploy.source import LEFT_OUT, write_source
from raytrain.errors import ConfigError

CONFIG = CloudRunConfig(project="my-project", service="forecasts", service_account="nobody@my-project.example")
TRAINING = ("lightgbm", "mlflow", "onnx", "onnxmltools", "optuna", "pandas", "pyarrow", "ray", "sklearn", "skl2onnx")
ENGINES = ("keras", "lightning", "tensorflow", "torch", "transformers", "xgboost", "ngboost", "skops")
# What a container has: neither the training stack nor the package that these tests run from.
REFUSE = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{name} is not in the container", name=name)
sys.meta_path.insert(0, Refuse())
sys.path[:] = [SOURCE, *(place for place in sys.path if place not in ("", ROOT))]
sys.argv = ["serve", *ARGUMENTS]
import raytrain
assert raytrain.__file__.startswith(SOURCE), raytrain.__file__
runpy.run_module("raytrain.jobs.serve", run_name="__main__", alter_sys=True)
"""
GCLOUD = """#!{python}
import json, os, sys
with open(os.environ["GCLOUD_CALLS"], "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if sys.argv[1:3] == os.environ.get("GCLOUD_FAILS", "").split():
    sys.exit("ERROR: (gcloud) no permission")
if sys.argv[1:4] == ["run", "services", "describe"]:
    print(os.environ["GCLOUD_URL"])
if sys.argv[1:3] == ["auth", "print-identity-token"]:
    print("a-token")
"""


@pytest.fixture(scope="module")
def bundle(world: Any) -> Bundle:
    """One with a graph."""
    return Bundle.open(world.made("lightgbm_quantile", onnx=True))


@pytest.fixture(scope="module")
def source(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a container is built from."""
    return write_source(tmp_path_factory.mktemp("sources"), bundle, "onnx")


@pytest.fixture(scope="module")
def url(source: Path) -> Iterator[str]:
    """The service as it runs in a container."""
    arguments = list(serve_command(source / "bundle", "onnx", "127.0.0.1", 0)[2:])
    given = {"REFUSED": TRAINING + ENGINES, "SOURCE": str(source), "ROOT": os.getcwd(), "ARGUMENTS": arguments}
    code = "".join(f"{name} = {value!r}\n" for name, value in given.items()) + REFUSE
    with started([sys.executable, "-c", code], os.environ, 120, cwd=source) as running:
        yield running.url


@pytest.fixture
def gcloud(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """A stand-in on the PATH that records how it is called; gives the calls so far."""
    command, calls = tmp_path / "bin" / "gcloud", tmp_path / "calls"
    command.parent.mkdir()
    command.write_text(GCLOUD.format(python=sys.executable))
    command.chmod(0o755)
    calls.touch()
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setenv("GCLOUD_CALLS", str(calls))
    monkeypatch.setenv("GCLOUD_URL", url)
    return lambda: [json.loads(line) for line in calls.read_text().splitlines()]


@pytest.mark.cluster
def test_the_source_serves_without_the_training_stack(bundle: Bundle, url: str) -> None:
    smoke = prepare_smoke(bundle, None)
    told = smoke.compare(ask(url, smoke.rows, smoke.expected), "onnx", "the container")
    assert "forecasts what the bundle does" in told


def test_the_source_holds_what_is_served_and_nothing_else(bundle: Bundle, source: Path) -> None:
    assert {path.name for path in source.iterdir()} == {
        ".dockerignore",
        ".gcloudignore",
        "Dockerfile",
        "bundle",
        "raytrain",
        "requirements.txt",
    }
    assert Bundle.open(source / "bundle").digest == bundle.digest
    assert not {path.name for path in (source / "raytrain").iterdir()} & set(LEFT_OUT)
    dockerfile = (source / "Dockerfile").read_text()
    assert "USER serve" in dockerfile
    assert "onnx" in dockerfile
    assert "libgomp1" not in dockerfile
    assert write_source(source.parent, bundle, "onnx") == source


def test_requirements_are_pinned_and_hold_no_training_library(bundle: Bundle) -> None:
    graph, native = (
        [line.partition("==") for line in requirements(bundle, runtime, "3.11")] for runtime in ("onnx", "native")
    )
    assert all(sign == "==" and version for _, sign, version in graph + native)
    names = {name for name, _, _ in graph}
    assert {"fastapi", "onnxruntime", "uvicorn", "starlette", "h11"} <= names
    assert not names & {"lightgbm", "mlflow", "pandas", "ray", "scikit-learn", "tensorflow-cpu", "torch"}
    assert {"lightgbm", "numpy"} <= {name for name, _, _ in native}
    assert "onnxruntime" not in {name for name, _, _ in native}


def test_a_deployment_asks_who_is_there_and_compares(
    bundle: Bundle, source: Path, gcloud: Callable[[], list[list[str]]]
) -> None:
    told = deploy_cloud_run(bundle, "onnx", source, CONFIG, prepare_smoke(bundle, None))
    assert "forecasts what the bundle does" in told
    deployed, described, token = gcloud()
    assert deployed[:3] == ["run", "deploy", "forecasts"]
    assert {f"--source={source}", "--no-allow-unauthenticated", "--project=my-project", "--quiet"} <= set(deployed)
    assert not [word for word in deployed if word == "--allow-unauthenticated"]
    assert described[:3] == ["run", "services", "describe"]
    assert token == ["auth", "print-identity-token"]
    steps = [list(step.command[1:]) for step in cloud_run_steps(source, CONFIG) if step.command]
    assert steps == [deployed, described, token]


def test_a_refusal_of_gcloud_is_told(
    bundle: Bundle, source: Path, gcloud: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCLOUD_FAILS", "run deploy")
    with pytest.raises(DeployFailed, match=r"gcloud run deploy forecasts ...` ended with code 1"):
        deploy_cloud_run(bundle, "onnx", source, CONFIG, prepare_smoke(bundle, None))
    assert len(gcloud()) == 1


def test_another_model_behind_the_url_is_noticed(world: Any, bundle: Bundle, url: str) -> None:
    smoke = prepare_smoke(bundle, None)
    with run_local(Bundle.open(world.made("har")), "native", LocalConfig(port=0)) as other:
        with pytest.raises(DeployFailed, match="409"):
            ask(other.url, smoke.rows, smoke.expected, bundle=bundle.digest)
        with pytest.raises(DeployFailed, match="must forecast what the bundle does, got a difference"):
            smoke.compare(ask(other.url, smoke.rows, smoke.expected), "onnx", other.url)


def test_no_token_goes_in_the_clear() -> None:
    with pytest.raises(DeployFailed, match="by https, got http://example"):
        call("http://example.test/predict", b"", {"Authorization": "Bearer secret"})


@pytest.mark.parametrize("name", ["", "a b", "-x", "project; rm"])
def test_a_project_must_be_named(name: str) -> None:
    with pytest.raises(ConfigError, match=r"`cloud_run.project` must be the id of a Google Cloud project"):
        CloudRunConfig(project=name).require_project()


@pytest.mark.parametrize(("key", "value"), [("service", "--async"), ("service", "Caps"), ("region", "--flag")])
def test_names_are_no_options(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        CloudRunConfig.model_validate({key: value})


def test_without_gcloud_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="install the Google Cloud CLI"):
        cloud_run.gcloud.require_gcloud()
