"""Upload, endpoint and forecast through Google's own client over REST, against a server on loopback."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

import pytest

from raytrain.deploy.contents import Bundle
from raytrain.deploy.local import serve_command, started
from raytrain.deploy.server import port_of, vertex_routes
from raytrain.deploy.smoke import DeployFailed, prepare_smoke
from raytrain.deploy.vertex import HEALTH, PREDICT, VertexConfig, build_command, deploy_vertex, vertex_steps
from raytrain.errors import ConfigError

PARENT = "projects/my-project/locations/europe-west1"
TYPES = "type.googleapis.com/google.cloud.aiplatform.v1"


class FakeVertex(ThreadingHTTPServer):
    """One model, one endpoint; forecasts are those of a container on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.container = ""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.endpoints: list[dict[str, Any]] = []
        self.refuse = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        verb = path.rpartition(":")[2] if ":" in path else path.rpartition("/")[2]
        self.calls.append((verb, body))
        return dict(getattr(self, f"do_{verb}")(body))

    def do_upload(self, body: dict[str, Any]) -> dict[str, Any]:
        return done("UploadModelResponse", model=f"{PARENT}/models/1")

    def do_endpoints(self, body: dict[str, Any]) -> dict[str, Any]:
        if not body:
            return {"endpoints": self.endpoints}
        self.endpoints.append({"name": f"{PARENT}/endpoints/7", "displayName": body["displayName"]})
        return done("Endpoint", **self.endpoints[0])

    def do_deployModel(self, body: dict[str, Any]) -> dict[str, Any]:
        place = self.endpoints[0].setdefault("deployedModels", [])
        one = body["deployedModel"] | {"id": str(100 + len(self.calls))}
        place.append(one)
        self.endpoints[0]["trafficSplit"] = {one["id"]: 100}
        return done("DeployModelResponse", deployedModel=one)

    def do_undeployModel(self, body: dict[str, Any]) -> dict[str, Any]:
        left = [one for one in self.endpoints[0]["deployedModels"] if one["id"] != body["deployedModelId"]]
        self.endpoints[0] |= {"deployedModels": left, "trafficSplit": body.get("trafficSplit", {})}
        return done("UndeployModelResponse")

    def do_predict(self, body: dict[str, Any]) -> dict[str, Any]:
        request = Request(f"{self.container}{PREDICT}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            told: dict[str, Any] = json.load(answer)
        return told


def done(kind: str, **response: Any) -> dict[str, Any]:
    """A long operation that has ended."""
    return {"name": f"{PARENT}/operations/1", "done": True, "response": {"@type": f"{TYPES}.{kind}", **response}}


class _Handler(BaseHTTPRequestHandler):
    server: FakeVertex

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        path = self.path.partition("?")[0]
        refused = self.server.refuse and path.endswith(self.server.refuse)
        told = {"error": {"code": 403, "message": "no permission", "status": "PERMISSION_DENIED"}}
        content = json.dumps(told if refused else self.server.answer(path, body)).encode()
        self.send_response(403 if refused else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def bundle(world: Any) -> Bundle:
    return Bundle.open(world.made("har"))


@pytest.fixture(scope="module")
def container(bundle: Bundle) -> Iterator[str]:
    """The service as Vertex AI starts it."""
    aip = {"AIP_HTTP_PORT": "0", "AIP_HEALTH_ROUTE": "/alive", "AIP_PREDICT_ROUTE": PREDICT}
    command = [sys.executable, *serve_command(bundle.folder, "native", "127.0.0.1", None)]
    with started(command, os.environ | aip, 120) as running:
        yield running.url


@pytest.fixture
def vertex(container: str) -> Iterator[FakeVertex]:
    server = FakeVertex()
    server.container = container
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _config(vertex: FakeVertex) -> VertexConfig:
    return VertexConfig(project="my-project", image="host/image@sha256:1", api_endpoint=vertex.url, deploy_s=60)


def test_upload_deploy_and_forecast(vertex: FakeVertex, bundle: Bundle) -> None:
    smoke = prepare_smoke(bundle, None)
    config = _config(vertex)
    assert "to the bit" in deploy_vertex(bundle, "native", None, config, smoke)
    assert [verb for verb, _ in vertex.calls] == ["upload", "endpoints", "endpoints", "deployModel", "predict"]
    container = vertex.calls[0][1]["model"]["containerSpec"]
    assert container["imageUri"] == "host/image@sha256:1"
    assert (container["predictRoute"], container["healthRoute"]) == (PREDICT, HEALTH)
    first = vertex.endpoints[0]["deployedModels"][0]["id"]

    vertex.calls.clear()
    deploy_vertex(bundle, "native", None, config, smoke)
    assert [verb for verb, _ in vertex.calls] == ["upload", "endpoints", "deployModel", "predict", "undeployModel"]
    (left,) = vertex.endpoints[0]["deployedModels"]
    assert left["id"] != first
    assert vertex.endpoints[0]["trafficSplit"] == {left["id"]: 100}


def test_a_model_that_forecasts_otherwise_goes_again(vertex: FakeVertex, bundle: Bundle) -> None:
    smoke = prepare_smoke(bundle, None)
    deploy_vertex(bundle, "native", None, _config(vertex), smoke)
    before = json.dumps(vertex.endpoints)
    levels = [name for name in smoke.expected.columns if name.startswith("q")]
    other = type(smoke)(smoke.rows, smoke.expected.with_columns(smoke.expected[levels[0]] * 2))
    with pytest.raises(DeployFailed, match="must forecast what the bundle does"):
        deploy_vertex(bundle, "native", None, _config(vertex), other)
    assert json.dumps(vertex.endpoints) == before


def test_a_refusal_is_told(vertex: FakeVertex, bundle: Bundle) -> None:
    vertex.refuse = "models:upload"
    with pytest.raises(DeployFailed, match=r"Vertex AI refuses projects/my-project.*no permission"):
        deploy_vertex(bundle, "native", None, _config(vertex), prepare_smoke(bundle, None))


def test_the_routes_of_vertex_are_served_beside_our_own(container: str) -> None:
    for path in ("/alive", "/healthz"):
        with urlopen(f"{container}{path}", timeout=30) as answer:
            assert json.load(answer)["status"] == "ok"
    with urlopen(f"{container}/openapi.json", timeout=30) as answer:
        paths = set(json.load(answer)["paths"])
    assert {"/alive", "/healthz", "/schema", PREDICT, "/predict"} == paths


def test_the_plan_names_every_call(bundle: Bundle, tmp_path: Any) -> None:
    config = VertexConfig(project="my-project")
    steps = vertex_steps(bundle, tmp_path, config)
    assert steps[0].command == build_command(bundle, tmp_path, config)
    assert steps[0].command[:3] == ("gcloud", "builds", "submit")
    assert [step.call.partition(" ")[0] for step in steps[1:]] == ["POST", "GET,", "POST", "", "POST"]


def test_the_environment_says_where_to_listen() -> None:
    assert port_of({"AIP_HTTP_PORT": "7080", "PORT": "1"}) == 7080
    assert port_of({"PORT": "9090"}) == 9090
    assert port_of({}) == 8080
    assert vertex_routes({"AIP_PREDICT_ROUTE": "/p"}) == {"predict": "/p"}
    for wrong in ({"PORT": "many"}, {"AIP_HTTP_PORT": "70000"}):
        with pytest.raises(ConfigError, match="must be a port"):
            port_of(wrong)
    with pytest.raises(ConfigError, match="must be a path"):
        vertex_routes({"AIP_HEALTH_ROUTE": "healthz"})


@pytest.mark.parametrize(("key", "value"), [("name", 'a" OR "'), ("location", "x/y")])
def test_names_do_not_leave_their_place(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        VertexConfig.model_validate({key: value})
