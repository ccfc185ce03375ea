"""BigQuery's Storage Read API: the answer of a query over one gRPC stream, as Arrow, in the order of the query."""

from collections.abc import Iterator
from typing import Any

OPEN_S = 30.0
"""How long the API may take to agree to a read, with all its repetitions: there is another way to the rows."""


def open_client(credentials: Any) -> Any | None:
    """A client of the API, or None where its package is not installed."""
    try:
        from google.cloud import bigquery_storage
    except ImportError:
        return None
    return bigquery_storage.BigQueryReadClient(credentials=credentials)  # type: ignore[no-untyped-call]


def read_table(client: Any, table: str, project: str, timeout_s: float) -> Iterator[Any]:
    """The rows of a table as record batches of at most 10 MiB, each row once. Closes the client at the end.

    One stream, because several would mix up the order of the rows; it needs no threads but gRPC's own.

    Args:
        client: from `open_client`.
        table: `projects/P/datasets/D/tables/T`.
        project: who pays; the role BigQuery Read Session User is needed on it.
        timeout_s: the stream is broken when it gives no row for as long.

    Raises:
        google.api_core.exceptions.GoogleAPIError: the API refuses, or it breaks where it has broken before.
    """
    import pyarrow as pa
    from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable
    from google.api_core.retry import Retry, if_exception_type

    with client:
        open_s = min(OPEN_S, timeout_s)
        session = client.create_read_session(
            parent=f"projects/{project}",
            read_session=_asked(table),
            max_stream_count=1,
            retry=Retry(if_exception_type(ServiceUnavailable, DeadlineExceeded), timeout=open_s),
            timeout=open_s,
        )
        schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
        for stream in session.streams:
            for message in _messages(client, stream.name, timeout_s):
                yield pa.ipc.read_record_batch(pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema)


def _asked(table: str) -> Any:
    from google.cloud.bigquery_storage import ArrowSerializationOptions, DataFormat, ReadSession

    packed = ArrowSerializationOptions(buffer_compression=ArrowSerializationOptions.CompressionCodec.LZ4_FRAME)
    options = ReadSession.TableReadOptions(arrow_serialization_options=packed)
    return ReadSession(table=table, data_format=DataFormat.ARROW, read_options=options)


def _messages(client: Any, stream: str, timeout_s: float) -> Iterator[Any]:
    """What a stream sends, taken up again after the last row that arrived when it breaks.

    The client does so by itself when the server becomes unavailable. It hands on errors inside the server, and the
    deadline, which gRPC counts from the beginning of the stream and not from its last row.
    """
    from google.api_core.exceptions import ServerError, ServiceUnavailable
    from google.api_core.retry import Retry, if_exception_type

    retry, offset, broken_at = Retry(if_exception_type(ServiceUnavailable), timeout=timeout_s), 0, 0
    while True:
        try:
            for message in client.read_rows(stream, offset, retry=retry, timeout=timeout_s):
                offset += message.row_count
                yield message
        except ServerError:
            if offset == broken_at:
                raise
            broken_at = offset
        else:
            return
