"""A small raw table of two series, as a person would bring it, and where it may come from."""

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from raytrain.data import DataConfig
from raytrain.data.export import ExportConfig, export
from raytrain.data.sources import open_source


@pytest.fixture
def bars() -> pl.DataFrame:
    """30 dates of series A and B with a price, a high, a column with gaps, a flag and a text."""
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(30)]
    parts = [
        pl.DataFrame(
            {
                "series_id": name,
                "date": days,
                "close": [start + 0.25 * i for i in range(30)],
                "high": [start + 0.25 * i + 0.1 for i in range(30)],
                "spread": [None if i % 7 == 3 else -1.5 + i / 8 for i in range(30)],
                "is_roll": [i % 5 == 0 for i in range(30)],
                "regime": "calm",
            }
        )
        for name, start in (("A", 10.0), ("B", 20.0))
    ]
    return pl.concat(parts)


@pytest.fixture
def snapshot(bars: pl.DataFrame, tmp_path: Path) -> Path:
    """The bars as the one snapshot of an export folder."""
    path = tmp_path / "source" / "bars.parquet"
    path.parent.mkdir()
    bars.write_parquet(path)
    config = ExportConfig(out=tmp_path / "out", data=DataConfig(kind="parquet", path=str(path)))
    return export(open_source(config.data), config).snapshot.folder


class FakeBigQuery(ThreadingHTTPServer):
    """Speaks the four REST calls that the client makes, over one table in memory, and fails on request."""

    daemon_threads = True
    table: pl.DataFrame
    queries: list[dict[str, Any]]
    """The body of each query that was started."""
    calls: list[str]
    """`table`, `query`, `job` or `page` for each request."""
    faults: dict[str, list[str]]
    """What goes wrong with the next requests of a kind: an HTTP status and a reason, `reset`, `half` or `hang`."""
    lost_rows: int = 0
    """Rows that are announced and never sent."""

    def __init__(self, table: pl.DataFrame) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.table, self.queries, self.calls, self.faults = table, [], [], {}
        self.answers: dict[str, pl.DataFrame] = {}
        self.hung, self.released = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that was killed or gave up is no news."""

    def start_query(self, body: dict[str, Any]) -> str:
        self.queries.append(body)
        given = {one["name"]: one["parameterValue"]["value"][:10] for one in body["queryParameters"]}
        day = pl.col("date").cast(pl.Date).cast(pl.String)
        rows = self.table.filter(day >= given.get("first", ""), day < given.get("end", "9"))
        names = re.findall(r"`(\w+)`", body["query"].partition(" FROM ")[0])
        job = f"job-{len(self.queries)}"
        self.answers[job] = rows.select(names).sort("date", maintain_order=True)
        return job

    def page(self, job: str, start: int, most: int) -> dict[str, Any]:
        rows = self.answers[job]
        there = rows.height - self.lost_rows
        cells = told_texts(rows[start : min(start + most, there)])
        more = {"pageToken": str(start + most)} if most and start + most < there else {}
        sent = {"rows": [{"f": [{"v": value} for value in row]} for row in cells.iter_rows()]} if most else {}
        about = {"jobComplete": True, "schema": fields(rows), "totalRows": str(rows.height)}
        return about | {"jobReference": self.reference(job)} | sent | more

    def reference(self, job: str) -> dict[str, str]:
        return {"projectId": "shop", "jobId": job, "location": "EU"}


def told_texts(table: pl.DataFrame) -> pl.DataFrame:
    """All columns as BigQuery writes them in JSON."""
    told = {
        "TIMESTAMP": lambda column: column.dt.epoch("us").cast(pl.String),
        "DATETIME": lambda column: column.dt.to_string("%Y-%m-%dT%H:%M:%S%.6f"),
    }
    kinds = {one["name"]: one["type"] for one in fields(table)["fields"]}
    return table.with_columns(
        told.get(kind, lambda column: column.cast(pl.String))(table[name]) for name, kind in kinds.items()
    )


def fields(table: pl.DataFrame) -> dict[str, Any]:
    """The table's schema as BigQuery tells it."""
    names = {
        pl.Date(): "DATE",
        pl.Datetime("us"): "DATETIME",
        pl.Datetime("us", "UTC"): "TIMESTAMP",
        pl.String(): "STRING",
        pl.Float64(): "FLOAT",
        pl.Int64(): "INTEGER",
        pl.Boolean(): "BOOLEAN",
    }
    return {"fields": [{"name": name, "type": names[kind]} for name, kind in table.schema.items()]}


class _Handler(BaseHTTPRequestHandler):
    server: FakeBigQuery

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(url.query).items()}
        *_, kind, name = url.path.split("/")
        if kind == "tables":
            reference = {"projectId": "shop", "datasetId": "prices", "tableId": name}
            self._answer("table", lambda: {"tableReference": reference, "schema": fields(self.server.table)})
        elif name not in self.server.answers:
            self._send(404, {"error": {"code": 404, "message": f"no job {name}", "errors": [{"reason": "notFound"}]}})
        elif kind == "jobs":
            self._answer("job", lambda: self._job(name))
        else:
            start, most = int(given.get("pageToken", 0)), int(given.get("maxResults", 500))
            self._answer("page", lambda: self.server.page(name, start, most))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(
            "query",
            lambda: {"jobReference": self.server.reference(self.server.start_query(body))} | {"jobComplete": False},
        )

    def _job(self, name: str) -> dict[str, Any]:
        where = {"projectId": "shop", "datasetId": "_hidden", "tableId": name}
        configuration = {"jobType": "QUERY", "query": {"query": "SELECT", "destinationTable": where}}
        return {
            "jobReference": self.server.reference(name),
            "configuration": configuration,
            "status": {"state": "DONE"},
        }

    def _answer(self, kind: str, make: Callable[[], dict[str, Any]]) -> None:
        self.server.calls.append(kind)
        waiting = self.server.faults.get(kind, [])
        fault = waiting.pop(0) if waiting else ""
        if fault == "hang":
            self.server.hung.set()
            self.server.released.wait()
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault in ("", "half"):
            self._send(200, make(), share=0.5 if fault else 1.0)
        else:
            status, _, reason = fault.partition(" ")
            self._send(int(status), {"error": {"code": int(status), "message": reason, "errors": [{"reason": reason}]}})

    def _send(self, status: int, answer: dict[str, Any], share: float = 1.0) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: int(len(body) * share)])
        self.close_connection = share < 1

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def bigquery(bars: pl.DataFrame) -> Iterator[FakeBigQuery]:
    """A server that has the bars in `shop.prices.daily`."""
    with FakeBigQuery(bars) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


class FakeStorage:
    """Speaks the two gRPC calls of the Storage Read API over the answers of a `FakeBigQuery`, and fails on request."""

    rows_per_message = 7
    calls: list[str]
    """`session`, or `rows@` and the offset, for each request."""
    asked: list[Any]
    """The `CreateReadSessionRequest` of each session."""
    session_faults: list[str]
    """gRPC statuses with which the next sessions are refused."""
    row_faults: list[tuple[int, str]]
    """After how many messages the next streams break, and how: a gRPC status or `hang`."""
    ended: threading.Event
    """A stream has come to an end, whoever ended it."""
    lost_rows: int = 0
    """Rows that are never sent."""

    def __init__(self, queries: FakeBigQuery) -> None:
        import grpc
        from google.cloud import bigquery_storage as api

        self.queries, self.calls, self.asked, self.session_faults, self.row_faults = queries, [], [], [], []
        self.ended = threading.Event()
        methods = {
            "CreateReadSession": grpc.unary_unary_rpc_method_handler(
                self.create_session, api.CreateReadSessionRequest.deserialize, api.ReadSession.serialize
            ),
            "ReadRows": grpc.unary_stream_rpc_method_handler(
                self.read_rows, api.ReadRowsRequest.deserialize, api.ReadRowsResponse.serialize
            ),
        }
        self.server = grpc.server(ThreadPoolExecutor(4))
        service = "google.cloud.bigquery.storage.v1.BigQueryRead"
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def client(self, credentials: Any) -> Any:
        """Google's own client, over a channel to this server."""
        import grpc
        from google.cloud.bigquery_storage_v1 import BigQueryReadClient
        from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

        channel = grpc.insecure_channel(self.address)
        self.last_client = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
        return self.last_client

    def create_session(self, request: Any, context: Any) -> Any:
        self.calls.append("session")
        self.asked.append(request)
        if self.session_faults:
            self.abort(context, self.session_faults.pop(0))
        job = request.read_session.table.rpartition("/")[2]
        schema = arrow_as_google(self.queries.answers[job]).schema
        return {"streams": [{"name": job}], "arrow_schema": {"serialized_schema": schema.serialize().to_pybytes()}}

    def read_rows(self, request: Any, context: Any) -> Iterator[Any]:
        self.calls.append(f"rows@{request.offset}")
        rows = self.queries.answers[request.read_stream]
        rows = rows[request.offset : rows.height - self.lost_rows]
        context.add_callback(self.ended.set)
        whole, fault = self.row_faults.pop(0) if self.row_faults else (rows.height, "")
        messages = list(rows.iter_slices(self.rows_per_message))
        for part in messages[:whole]:
            yield self.message(part)
        if fault:
            self.abort(context, fault)

    def message(self, rows: pl.DataFrame) -> Any:
        [batch] = arrow_as_google(rows).combine_chunks().to_batches()
        return {
            "row_count": batch.num_rows,
            "arrow_record_batch": {"serialized_record_batch": batch.serialize().to_pybytes()},
        }

    def abort(self, context: Any, fault: str) -> None:
        import grpc

        if fault == "hang":
            self.queries.released.wait()
        context.abort(getattr(grpc.StatusCode, fault), f"{fault} by request of the test")


def arrow_as_google(table: pl.DataFrame) -> Any:
    """An Arrow table with Google's types: short texts, and DATETIME marked as a type of its own."""
    import pyarrow as pa

    arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    mark = {"ARROW:extension:name": "google:sqlType:datetime"}
    fields = [
        pa.field(one.name, pa.string() if one.type == pa.large_string() else one.type).with_metadata(
            mark if one.type == pa.timestamp("us") else None
        )
        for one in arrow.schema
    ]
    return arrow.cast(pa.schema(fields))


@pytest.fixture
def storage(bigquery: FakeBigQuery, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStorage]:
    """Google as a whole: whoever asks it finds the two servers of the test."""
    from google.auth.credentials import AnonymousCredentials

    fake = FakeStorage(bigquery)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
    monkeypatch.setattr("google.auth.default", lambda scopes: (AnonymousCredentials(), "shop"))
    monkeypatch.setattr("google.cloud.bigquery_storage.BigQueryReadClient", fake.client)
    fake.server.start()
    yield fake
    bigquery.released.set()
    fake.server.stop(None).wait()
