"""Forecasts as a table and a graph as a model, through Google's own clients against servers on loopback."""

import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import polars as pl
import pytest

from raytrain.deploy.bigquery import bigquery_steps, deploy_bigquery
from raytrain.deploy.contents import Bundle
from raytrain.deploy.kept import BigQueryTarget, Kept, to_keep
from raytrain.deploy.smoke import DeployFailed
from raytrain.errors import ConfigError, DataError


class FakeGoogle(ThreadingHTTPServer):
    """BigQuery's load jobs and queries, and Cloud Storage's uploads."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.partitions: dict[str, pl.DataFrame] = {}
        self.loads: list[dict[str, Any]] = []
        self.queries: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.refuse: bytes = b""
        """What a request says that has no permission."""
        self.append = False
        """Whether somebody else adds rows to what is loaded."""
        self.pending: dict[str, Any] = {}
        self.parameters: list[dict[str, Any]] = []
        """Of the newest query."""
        self.models: dict[str, bytes] = {}
        self.answer: Callable[[Any], Any] = list
        """What becomes of a model's rows of (place, values) before they are told."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def load(self, content: bytes) -> dict[str, Any]:
        job = self.pending
        self.loads.append(job["configuration"]["load"])
        table = self.loads[-1]["destinationTable"]
        rows = pl.read_parquet(io.BytesIO(content))
        self.partitions[table["tableId"]] = pl.concat([rows, rows]) if self.append else rows
        return self.job(job["jobReference"], {"load": self.loads[-1]})

    def query(self, sql: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
        self.queries.append(sql)
        self.parameters = parameters
        if found := re.fullmatch(r"CREATE OR REPLACE MODEL `(.*)` OPTIONS\(.*MODEL_PATH='gs://my-bucket/(.*)'\)", sql):
            self.models[found[1]] = self.objects[found[2]]
        return self.job({"projectId": "my-project", "jobId": f"q{len(self.queries)}", "location": "EU"}, {})

    def job(self, reference: dict[str, Any], configuration: dict[str, Any]) -> dict[str, Any]:
        about = {"jobReference": {"location": "EU", **reference}, "status": {"state": "DONE"}}
        return about | {"configuration": configuration or {"query": {"query": ""}}, "statistics": {}}

    def rows(self) -> dict[str, Any]:
        """The answer to the newest query."""
        sql = self.queries[-1]
        told: dict[str, Any] = {"jobComplete": True, "totalRows": "0", "jobReference": self.query_reference()}
        if found := re.search(r"FROM ML\.PREDICT\(MODEL `(.*)`, ", sql):
            return told | self.predicted(self.models[found[1]])
        found = re.search(r"SELECT (.*) FROM `(.*)` WHERE forecast_date = '(.*)' ORDER", sql)
        if found is None:
            return told
        names, table, day = found[1].split(", "), found[2].rpartition(".")[2], found[3].replace("-", "")
        rows = self.partitions[f"{table}${day}"].select(names).sort(names[:2])
        cells = [{"f": [{"v": value} for value in row]} for row in rows.iter_rows()]
        fields = [{"name": name, "type": "STRING"} for name in names]
        return told | {"totalRows": str(len(cells)), "rows": cells, "schema": {"fields": fields}}

    def predicted(self, graph: bytes) -> dict[str, Any]:
        """What the graph that was imported makes of the parameters; an output of three dimensions as one array."""
        import onnxruntime

        ((name, given),) = ((one["name"], one["parameterValue"]["arrayValues"]) for one in self.parameters)
        assert name == "given"
        structs = [one["structValues"] for one in given]
        x = np.array([[float(one["value"]) for one in row["x"]["arrayValues"]] for row in structs], np.float32)
        (y,) = onnxruntime.InferenceSession(graph).run(["y"], {"x": x})
        rows = self.answer([(row["place"]["value"], y[at].ravel().tolist()) for at, row in enumerate(structs)])
        cells = [{"f": [{"v": place}, {"v": [{"v": str(value)} for value in values]}]} for place, values in rows]
        fields = [{"name": "place", "type": "INTEGER"}, {"name": "y", "type": "FLOAT", "mode": "REPEATED"}]
        return {"totalRows": str(len(cells)), "rows": cells, "schema": {"fields": fields}}

    def query_reference(self) -> dict[str, str]:
        return {"projectId": "my-project", "jobId": f"q{len(self.queries)}", "location": "EU"}


class _Handler(BaseHTTPRequestHandler):
    server: FakeGoogle

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if "/queries/" in path:
            self._send(self.server.rows())
        else:
            self._send(self.server.job(self.server.query_reference(), {}))

    def do_POST(self) -> None:
        url, body = urlsplit(self.path), self._body()
        given = parse_qs(url.query)
        if self.server.refuse and self.server.refuse in body:
            error = {"code": 403, "message": "no permission", "errors": [{"reason": "accessDenied"}]}
            self._send({"error": error}, 403)
        elif url.path.startswith("/upload/storage"):
            self._store(given, body)
        elif url.path.startswith("/upload/"):
            self.server.pending = json.loads(body)
            self._send({}, 200, Location=f"{self.server.url}/resume/load")
        elif url.path.endswith("/queries"):
            job = json.loads(body)
            self.server.query(job["query"], job.get("queryParameters", []))
            self._send(self.server.rows())
        else:
            job = json.loads(body)["configuration"]["query"]
            self._send(self.server.query(job["query"], job.get("queryParameters", [])))

    def do_PUT(self) -> None:
        self._send(self.server.load(self._body()))

    def _store(self, given: dict[str, list[str]], body: bytes) -> None:
        """A multipart upload: what it is called, then what it is."""
        boundary = re.search(rb'boundary="?([^";]+)', self.headers["Content-Type"].encode())
        assert boundary is not None
        _, about, content, _ = body.split(b"--" + boundary[1].strip(b"'"))
        name = json.loads(about.partition(b"\r\n\r\n")[2])["name"]
        self.server.objects[name] = content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        bucket = unquote(urlsplit(self.path).path.split("/")[5])
        self._send({"name": name, "bucket": bucket, "size": str(len(self.server.objects[name]))})

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        return found

    def _send(self, told: dict[str, Any], status: int = 200, **headers: str) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    server = FakeGoogle()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def bundle(world: Any) -> Bundle:
    """One with a graph."""
    return Bundle.open(world.made("lightgbm_quantile", onnx=True))


@pytest.fixture(scope="module")
def data(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    world.table.write_parquet(path)
    return path


@pytest.fixture(scope="module")
def kept(bundle: Bundle, data: Path) -> Kept:
    """Forecasts and a graph; where the servers are is not part of it."""
    return to_keep(bundle, None, data, BigQueryTarget(project="my-project", dataset="models", bucket="my-bucket"))


def _config(google: FakeGoogle, **more: Any) -> BigQueryTarget:
    ends = {"api_endpoint": google.url, "storage_endpoint": google.url}
    return BigQueryTarget(project="my-project", dataset="models", location="EU", **ends | more)


def test_a_day_of_forecasts_is_replaced_not_doubled(google: FakeGoogle, bundle: Bundle, data: Path) -> None:
    config = _config(google)
    kept = to_keep(bundle, None, data, config)
    for _ in range(2):
        (told,) = deploy_bigquery(kept, config)
        assert told == "my-project.models.forecasts_return_1w$20200514 holds these 2 forecasts, each once"
    (name,) = google.partitions
    assert name == "forecasts_return_1w$20200514"
    rows = google.partitions[name]
    assert rows["series_id"].to_list() == ["A", "B"]
    assert rows["q0_1"].to_list() == kept.forecasts["q0_1"].to_list()
    assert set(rows["source"]) == {bundle.digest}
    for load in google.loads:
        assert load["writeDisposition"] == "WRITE_TRUNCATE"
        assert load["timePartitioning"] == {"type": "DAY", "field": "forecast_date"}
        types = {one["name"]: one["type"] for one in load["schema"]["fields"]}
        assert (types["forecast_date"], types["date"], types["q0_5"]) == ("DATE", "DATETIME", "FLOAT64")


def test_the_graph_becomes_a_model(google: FakeGoogle, bundle: Bundle, kept: Kept) -> None:
    told = list(deploy_bigquery(kept, _config(google, bucket="my-bucket")))
    place = f"raytrain/{bundle.digest}/model.onnx"
    assert google.objects == {place: (bundle.folder / "model.onnx").read_bytes()}
    assert google.queries[-2] == (
        "CREATE OR REPLACE MODEL `my-project.models.forecasts_return_1w_model` "
        f"OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='gs://my-bucket/{place}')"
    )
    assert told[1].startswith("my-project.models.forecasts_return_1w_model is imported")
    assert google.queries[-1] == (
        "SELECT place, y FROM ML.PREDICT(MODEL `my-project.models.forecasts_return_1w_model`, "
        "(SELECT place, x FROM UNNEST(@given))) ORDER BY place"
    )
    assert re.fullmatch(
        r"my-project\.models\.forecasts_return_1w_model forecasts what the bundle does, .*\(2 forecasts\)", told[2]
    )


def test_a_probability_is_compared_as_well(google: FakeGoogle, world: Any, data: Path) -> None:
    bundle = Bundle.open(world.made("lightgbm", "threshold_1w", onnx=True))
    config = _config(google, bucket="my-bucket")
    *_, told = deploy_bigquery(to_keep(bundle, None, data, config), config)
    assert "forecasts what the bundle does" in told


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda rows: [(at, [1.0001 * value for value in values]) for at, values in rows], "must forecast what"),
        (lambda rows: [(at, rows[0][1]) for at, _ in rows], "must forecast what the bundle does"),
        (lambda rows: [(at, ["nan"] * len(values)) for at, values in rows], "got a difference of inf"),
        (lambda rows: rows[:1], "each of 2 rows once, with 3 values, got 1 rows of 3 values"),
        (lambda rows: [*rows, rows[0]], "got 3 rows of 3 values"),
        (lambda rows: [(at, values[:2]) for at, values in rows], "got 2 rows of 2 values"),
        (lambda rows: [], "got 0 rows"),
    ],
    ids=["near", "same", "unknown", "fewer", "more", "short", "none"],
)
def test_a_model_that_forecasts_otherwise_is_noticed(google: FakeGoogle, kept: Kept, answer: Any, said: str) -> None:
    google.answer = answer
    with pytest.raises(DeployFailed, match=said) as failed:
        list(deploy_bigquery(kept, _config(google, bucket="my-bucket")))
    assert "my-project.models.forecasts_return_1w_model must forecast" in str(failed.value)
    assert str(failed.value).endswith("do not use it")


def test_a_model_that_cannot_forecast_is_told(google: FakeGoogle, kept: Kept) -> None:
    google.refuse = b"ML.PREDICT"
    with pytest.raises(DeployFailed, match=r"BigQuery refuses my-project\.models\.forecasts_return_1w_model.*no perm"):
        list(deploy_bigquery(kept, _config(google, bucket="my-bucket")))


def test_a_few_series_are_compared_and_all_are_kept(
    google: FakeGoogle, bundle: Bundle, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.deploy.kept._NUM_COMPARED", 1)
    config = _config(google, bucket="my-bucket")
    kept = to_keep(bundle, None, data, config)
    *_, told = deploy_bigquery(kept, config)
    assert (len(kept.forecasts), told[-13:]) == (2, "(1 forecasts)")


def test_a_run_is_kept_as_it_is(google: FakeGoogle, kept: Kept, tmp_path: Path) -> None:
    config = _config(google)
    kept.forecasts.drop("forecast_date", "source").write_parquet(tmp_path / "forecast.parquet")
    run = to_keep(None, tmp_path / "forecast.parquet", None, config)
    list(deploy_bigquery(run, config))
    assert list(google.partitions) == ["forecasts$20200514"]
    assert [step.call.partition(" ")[0] for step in bigquery_steps(run, config)] == ["LOAD", "QUERY"]


def test_rows_of_somebody_else_are_noticed(google: FakeGoogle, kept: Kept) -> None:
    google.append = True
    with pytest.raises(DeployFailed, match="must hold the 2 forecasts that were sent, got 4"):
        list(deploy_bigquery(kept, _config(google)))


def test_a_refusal_is_told(google: FakeGoogle, kept: Kept) -> None:
    google.refuse = b"forecasts"
    with pytest.raises(DeployFailed, match=r"BigQuery refuses my-project\.models.*no permission"):
        list(deploy_bigquery(kept, _config(google)))


def test_models_that_bigquery_does_not_take_are_refused(
    google: FakeGoogle, world: Any, bundle: Bundle, data: Path
) -> None:
    small = _config(google, bucket="my-bucket", max_model_bytes=10)
    with pytest.raises(ConfigError, match="graphs of at most 10 bytes, got"):
        to_keep(bundle, None, data, small)
    with pytest.raises(ConfigError, match="this bundle has none: "):
        to_keep(Bundle.open(world.made("har")), None, data, _config(google, bucket="my-bucket"))


def test_what_is_no_forecast_is_refused(google: FakeGoogle, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(DataError, match=r"must be a run's forecast\.parquet"):
        to_keep(None, tmp_path / "text", None, _config(google))
    with pytest.raises(DataError, match="must have target, got"):
        to_keep(None, data, None, _config(google))
    with pytest.raises(ConfigError, match="add --data FILE, or --forecasts FILE"):
        to_keep(bundle, None, None, _config(google))


@pytest.mark.parametrize(("key", "value"), [("dataset", "a`b"), ("table", "a.b"), ("bucket", "gs://a")])
def test_names_do_not_leave_the_statement(key: str, value: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        BigQueryTarget.model_validate({key: value})
