"""The service over real HTTP: what it forecasts, and what it refuses without falling."""

import http.client
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from raytrain.deploy.contents import Bundle
from raytrain.deploy.local import LocalConfig, run_local, serve_command, started
from raytrain.deploy.smoke import Smoke, as_columns, ask, own_forecasts
from raytrain.jobs import _command
from raytrain.jobs.serve import ServeConfig, run

Ask = Callable[..., tuple[int, dict[str, Any]]]
JSON = {"Content-Type": "application/json"}
MIB = 2**20
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
)


def _connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)


def _post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = _connection(url)
    try:
        connection.request("POST", "/predict", body, JSON | headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def folder(world: Any) -> Path:
    """The bundle that is served."""
    made: Path = world.made("har")
    return made


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A service with the usual bounds."""
    with run_local(Bundle.open(folder), "native", LocalConfig(port=0)) as running:
        yield running.url


@pytest.fixture(scope="module")
def columns(world: Any) -> dict[str, list[Any]]:
    """Good rows."""
    return as_columns(world.table)


@pytest.fixture
def ask_it(url: str, columns: dict[str, list[Any]]) -> Iterator[Ask]:
    """Sends good rows with a change; whatever the answer, the service is well afterwards."""

    def send(change: dict[str, Any] | None = None, **more: Any) -> tuple[int, dict[str, Any]]:
        changed = {name: value for name, value in (columns | (change or {})).items() if value is not None}
        return _post(url, json.dumps({"columns": changed} | more).encode())

    yield send
    connection = _connection(url)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["har", "lightgbm_quantile", "gru", "mlp"])
def test_forecasts_are_those_of_the_run_to_the_bit(world: Any, name: str) -> None:
    """One family of each engine, and a formula."""
    spec = world.fitted(name)
    bundle = Bundle.open(world.made(name))
    with run_local(bundle, "native", LocalConfig(port=0)) as running:
        found = ask(running.url, world.table, own_forecasts(bundle, world.table), bundle=bundle.digest)
    stored = world.stored(spec).filter(target="return_1w").sort("series_id")
    levels = ["q0.1", "q0.5", "q0.9"]
    assert found.sort("series_id").select(levels).equals(stored.select(levels))


def test_records_and_columns_are_the_same(url: str, columns: dict[str, list[Any]]) -> None:
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    told = [_post(url, json.dumps(body).encode()) for body in ({"columns": columns}, {"records": records})]
    assert told[0] == told[1]
    status, answer = told[0]
    assert status == 200
    assert [one["series_id"] for one in answer["forecasts"]] == ["A", "B"]
    assert answer["model"]["family"] == "har"


def test_a_column_too_many_is_ignored_with_a_note(ask_it: Ask) -> None:
    status, answer = ask_it({"rumour": [{"any": "thing"}]})
    assert status == 200
    assert answer["notes"] == ["ignored 1 columns that the bundle does not read: rumour"]


def _with(name: str, value: Any, rows: int = 900) -> dict[str, Any]:
    return {name: [value] * rows}


@pytest.mark.parametrize(
    ("change", "more", "status", "said"),
    [
        ({"close": None}, {}, 422, "columns.close: must be there"),
        (_with("close", "much"), {}, 422, "must be a valid number, got 'much'"),
        (_with("regime", "new"), {}, 422, "categories that training has seen, got 'new'"),
        ({"series_id": ["A"] * 500 + ["C"] * 400}, {}, 422, "one that the model was trained on, got C"),
        (_with("date", "yesterday"), {}, 422, "date"),
        (_with("close", 1.0, 899), {}, 422, "columns must be of the same length"),
        (_with("close", -1.0), {}, 422, "close"),
        ({}, {"bundle": "another"}, 409, "not another"),
        ({}, {"surprise": 1}, 422, "surprise"),
        ({}, {"records": []}, 422, "records"),
    ],
)
def test_wrong_rows_are_refused_with_the_reason(
    ask_it: Ask, change: dict[str, Any], more: dict[str, Any], status: int, said: str
) -> None:
    got, problem = ask_it(change, **more)
    assert (got, problem["status"]) == (status, status)
    assert said in problem["detail"]
    assert "Traceback" not in json.dumps(problem)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "null"])
def test_what_must_be_known_may_not_be_nan(url: str, ask_it: Ask, columns: dict[str, list[Any]], value: str) -> None:
    text = json.dumps({"columns": columns | _with("close", "here")}).replace('"here"', value)
    status, problem = _post(url, text.encode())
    assert status == 422
    assert "columns.close.0" in problem["detail"]
    assert ask_it(_with("other", None))[0] == 200


def test_a_new_category_may_count_as_unknown(ask_it: Ask) -> None:
    status, answer = ask_it(_with("regime", "new"), new_categories="unknown")
    assert status == 200
    assert answer["notes"] == ["`regime`: the model knows no new, which counts as unknown"]


def test_too_few_rows_are_refused(ask_it: Ask, columns: dict[str, list[Any]]) -> None:
    status, problem = ask_it({name: values[:5] for name, values in columns.items()})
    assert status == 422
    assert "a forecast reads at least" in problem["detail"]


MILLION = 1_000_000
ALL_RIGHT = {"date": b'"2020-01-01"', "series_id": b'"A"', "regime": b'"odd"'}


def _listed(value: bytes) -> bytes:
    """A million times, as JSON."""
    return b"[" + (value + b",") * (MILLION - 1) + value + b"]"


def test_a_million_rows_are_too_many(url: str, ask_it: Ask, columns: dict[str, list[Any]]) -> None:
    """Of values that are all right: only their number is wrong."""
    parts = [b'"%s":%s' % (name.encode(), _listed(ALL_RIGHT.get(name, b"1"))) for name in columns]
    body = b'{"columns":{%s}}' % b",".join(parts)
    assert 20 * MIB < len(body) < 32 * MIB
    status, problem = _post(url, body)
    assert (status, problem["detail"]) == (413, "a table may have 200000 rows; send the newest ones only")
    assert ask_it()[0] == 200


def test_a_million_rows_of_nothing_are_told_once(url: str, ask_it: Ask) -> None:
    status, problem = _post(url, b'{"records":%s}' % _listed(b"{}"))
    assert (status, problem["status"]) == (422, 422)
    assert {one["rule"] for one in problem["errors"]} == {"must be there"}
    assert {one["at"].partition(".")[2].partition(".")[0] for one in problem["errors"]} == {"0"}
    assert ask_it()[0] == 200


def test_forty_megabytes_are_refused_before_they_are_sent(url: str, ask_it: Ask) -> None:
    connection = _connection(url)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(40 * 10**6))
    connection.endheaders()  # and not a byte of the body
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (413, "application/problem+json")
    connection.close()
    assert ask_it()[0] == 200


def _send_until_answered(raw: socket.socket, pieces: Iterable[bytes]) -> int:
    """Like a client that looks up while it sends; returns how many bytes went out."""
    sent = 0
    with suppress(ConnectionError):  # it has closed the connection; what it said before that is still to be read
        for piece in pieces:
            if select.select([raw], [], [], 0)[0]:
                break
            raw.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.parametrize("announced", [True, False])
def test_forty_megabytes_are_cut_off_with_an_answer(url: str, ask_it: Ask, announced: bool) -> None:
    """Bytes that are really sent: the status arrives, and the next client is served."""
    address = urlsplit(url)
    head = f"POST /predict HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    size = f"Content-Length: {40 * MIB}" if announced else "Transfer-Encoding: chunked"
    piece = b" " * MIB if announced else f"{MIB:x}\r\n".encode() + b" " * MIB + b"\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=30) as raw:
        raw.sendall(f"{head}{size}\r\n\r\n".encode())
        sent = _send_until_answered(raw, [piece] * 40)
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, answer.headers["Content-Type"]) == (413, "application/problem+json")
    assert problem["detail"] == "a body may have 32 MiB; send the newest rows only"
    assert answer.headers["Connection"] == "close"
    assert sent > 0 if announced else sent > 32 * MIB
    assert ask_it()[0] == 200


# The model in a process of its own, as that of a member of another engine is.
APART = """
import sys
from pathlib import Path
from raytrain.deploy import forecaster, server
forecaster._native = forecaster.Remote
server.serve(Path(sys.argv[1]), server.ServeOptions(port=0))
"""


def _get(url: str, path: str) -> tuple[int, dict[str, Any]]:
    connection = _connection(url)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_model_that_ends_is_told_without_a_word_about_its_inside(
    folder: Path, columns: dict[str, list[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"columns": columns}).encode()
    with started([sys.executable, "-c", APART, str(folder)], _environment(), 120) as apart:
        assert (_post(apart.url, body)[0], _get(apart.url, "/healthz")[0]) == (200, 200)
        (model,) = psutil.Process(apart.process.pid).children()
        model.kill()
        problem = {
            "title": "It went wrong here",
            "status": 500,
            "detail": "this is no fault of the request; the log of the service tells more",
            "errors": [],
        }
        assert [_post(apart.url, body) for _ in range(2)] == [(500, problem)] * 2
        status, problem = _get(apart.url, "/healthz")
        assert (status, problem["detail"]) == (503, "a model of this bundle has ended; start the service again")
        assert _get(apart.url, "/schema")[0] == 200, "it stays up, for whoever starts it again"
        assert _post(apart.url, b"{}")[0] == 422
        assert apart.process.poll() is None
    told = capfd.readouterr().err
    assert "no forecast: the process that forecasts har return_1w latest s42 has ended with code -9" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"columns":', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{}", "text/csv", 415),
        (b"[]", "application/json", 422),
        (b'{"columns": {"date": "x"}}', "application/json", 422),
        (b"[" * 100_000, "application/json", 400),
    ],
)
def test_no_json_is_refused(url: str, ask_it: Ask, body: bytes, kind: str, status: int) -> None:
    got, problem = _post(url, body, **{"Content-Type": kind})
    assert (got, problem["status"]) == (status, status)
    assert ask_it()[0] == 200


@pytest.fixture(scope="module")
def api(url: str) -> Any:
    """What the service says of itself."""
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        ("GET", "/healthz", GenerationMode.POSITIVE),
        ("GET", "/schema", GenerationMode.POSITIVE),
        ("POST", "/predict", GenerationMode.POSITIVE),
        ("POST", "/predict", GenerationMode.NEGATIVE),
    ],
)
def test_the_service_is_what_its_document_says(api: Any, method: str, path: str, mode: GenerationMode) -> None:
    """Positive cases are of the right types, but never enough rows of known series: 200 or 422, as the document has."""

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(api[path][method].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=60)

    check()


def test_the_document_holds_all_that_is_there(api: Any) -> None:
    assert {f"{one.ok().method} {one.ok().path}" for one in api.get_all_operations()} == {
        "get /healthz",
        "get /schema",
        "post /predict",
    }


@pytest.fixture(scope="module")
def hasty(folder: Path) -> Iterator[str]:
    """A service that waits a second, for one request at a time."""
    bounds = {"head_s": "1", "body_s": "1", "max_requests": "1"}
    told = [word for name, value in bounds.items() for word in (f"--serve.limits.{name}", value)]
    command = [sys.executable, *serve_command(folder, "native", "127.0.0.1", 0), *told]
    with started(command, _environment(), 120) as running:
        yield running.url


def _environment() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("RAYTRAIN_")}


@pytest.mark.parametrize("sent", [b"", b"POST /predict HTTP/1.1\r\nHost: a\r\n"])
def test_nobody_holds_a_connection_with_half_a_head(hasty: str, sent: bytes) -> None:
    address = urlsplit(hasty)
    with socket.create_connection((address.hostname, address.port), timeout=30) as raw:
        raw.sendall(sent)
        assert raw.recv(100) == b""


def test_half_a_head_after_an_answer_is_no_way_round(hasty: str) -> None:
    address = urlsplit(hasty)
    with socket.create_connection((address.hostname, address.port), timeout=30) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(0.2)
        raw.sendall(b"GET /healthz HTTP/1.1\r\n")
        while received := raw.recv(4096):
            assert b"HTTP/1.1" not in received  # the rest of the first answer at most


def test_a_slow_body_times_out_and_holds_its_place_until_then(hasty: str, columns: dict[str, list[Any]]) -> None:
    slow = _connection(hasty)
    slow.putrequest("POST", "/predict")
    slow.putheader("Content-Type", "application/json")
    slow.putheader("Content-Length", "100")
    slow.endheaders()
    slow.send(b"{")
    time.sleep(0.3)
    status, problem = _post(hasty, json.dumps({"columns": columns}).encode())
    assert (status, problem["title"]) == (503, "Busy")
    answer = slow.getresponse()
    assert (answer.status, json.loads(answer.read())["detail"]) == (408, "the body must arrive within 1 s")
    slow.close()
    assert _post(hasty, json.dumps({"columns": columns}).encode())[0] == 200


def _serve(folder: Path, *more: str) -> int:
    return _command.run(ServeConfig, run, "", [], ["--bundle", str(folder), "--serve.port", "0", *more])


def test_a_changed_byte_keeps_it_from_starting(copied: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied()
    path = folder / "preparation.json"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert _serve(folder) == 4
    assert "preparation.json was changed" in capsys.readouterr().err


def test_another_version_keeps_it_from_starting(copied: Any, resealed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied()
    about = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(about | {"raytrain": "0.0.1"}))
    resealed(folder)
    assert _serve(folder) == 4
    assert "was written by raytrain 0.0.1" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = str(urlsplit(url).port)
    assert _command.run(ServeConfig, run, "", [], ["--bundle", str(folder), "--serve.port", port]) == 4
    assert "must be free" in capsys.readouterr().err


def test_it_ends_when_it_is_told_to(folder: Path) -> None:
    command = [sys.executable, *serve_command(folder, "native", "127.0.0.1", 0)]
    with started(command, _environment(), 120) as running:
        running.process.terminate()
        assert running.process.wait(30) in (0, -15)


def test_a_smoke_test_tells_what_differs() -> None:
    table = pl.DataFrame({"target": ["a"], "series_id": ["A"], "q0.5": pl.Series([1.0], dtype=pl.Float32)})
    smoke = Smoke(table, table)
    assert "to the bit" in smoke.compare(table, "native", "here")
    near = table.with_columns((pl.col("q0.5") * (1 + 5e-6)).cast(pl.Float32))
    assert "within" in smoke.compare(near, "onnx", "here")
    for other, runtime in ((near, "native"), (table.with_columns(pl.col("q0.5") * 1.001), "onnx"), (table[:0], "onnx")):
        with pytest.raises(Exception, match="must forecast"):
            smoke.compare(other, runtime, "here")  # type: ignore[arg-type]


def test_naming_the_service_loads_no_web_server() -> None:
    code = "import sys, raytrain.deploy.service, raytrain.jobs.deploy; print(sorted({'fastapi', 'google.auth', 'ray', "
    code += "'uvicorn', 'mlflow', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
