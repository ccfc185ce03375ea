"""A BigQuery table, read as Arrow: one query, its values as parameters, every row that was announced or none."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import polars as pl

from raytrain.data.atomic import replacing
from raytrain.data.bigquery_config import COLUMN
from raytrain.data.bigquery_storage import open_client, read_table
from raytrain.data.config import DataConfig
from raytrain.errors import ConfigError, DataError, RaytrainError

SCOPES = (
    "https://www.googleapis.com/auth/bigquery.readonly",
    "https://www.googleapis.com/auth/cloud-platform.read-only",
)
UNREADABLE = frozenset({"BIGNUMERIC", "BIGDECIMAL", "RECORD", "STRUCT", "INTERVAL", "RANGE"})
PAGE_ROWS = 10_000
REQUEST_S = 30.0
"""How long one request may take before it is repeated; a query goes on behind the request that started it."""
JOB_LIFE_S = 6 * 3600.0
"""A job older than this is not taken up again: its rows may be those of yesterday. BigQuery keeps them for a day."""


class SourceUnavailable(RaytrainError):
    """The source did not answer, or not wholly; the same command may succeed later."""


@dataclass(frozen=True)
class BigQuerySource:
    """One table. Needs the roles BigQuery Data Viewer on it and BigQuery Job User on the project that pays."""

    config: DataConfig
    job_note: Path | None = None
    """File that keeps the job under way, so that a killed export takes it up again."""
    notes: list[str] = field(default_factory=list, compare=False)
    """What a person should know about how the rows were read."""

    def __post_init__(self) -> None:
        if self.config.bigquery.table is None:
            raise ConfigError(
                "data.bigquery.table must be given when data.kind is bigquery; "
                "add `--data.bigquery.table PROJECT.DATASET.TABLE`"
            )

    @property
    def name(self) -> str:
        """What the one series of a table without a series column is called."""
        return self._table.rpartition(".")[2]

    @property
    def place(self) -> str:
        """Where the rows come from."""
        return f"BigQuery {self._table}"

    def describe(self, columns: Sequence[str], since: date | None) -> str:
        """The query as it is asked."""
        values = ", ".join(f"@{name} is {value}" for name, value in self._bounds(since).items())
        return f"bigquery: {self._select(columns, since)}" + (f" ({values})" if values else "")

    def columns(self) -> list[str]:
        """The columns of the table."""
        return list(self._types)

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """All rows, by date."""
        return pl.concat(self.batches(columns, None))

    def batches(self, columns: Sequence[str], since: date | None) -> Iterator[pl.DataFrame]:
        """The rows in pieces, at least one, by date; only rows from `since` on.

        Raises:
            DataError: BigQuery refuses the query.
            SourceUnavailable: it does not answer, or it gives fewer or more rows than it announced.
        """
        sql, got = self._select(columns, since), 0
        with self._refusals():
            job = self._noted_job(sql, since) or self._new_job(sql, since)
            rows = self._wait(job)
            announced = rows.total_rows
            for batch in self._stream(job, rows):
                got += batch.num_rows
                yield _plain(batch)
        if got != announced:
            if self.job_note is not None:
                self.job_note.unlink(missing_ok=True)
            raise SourceUnavailable(f"{self._table} announced {announced} rows and gave {got}; start the command again")

    @property
    def _table(self) -> str:
        return self.config.bigquery.table or ""

    @cached_property
    def _types(self) -> dict[str, str]:
        """Column -> BigQuery's type."""
        client = self._client
        with self._refusals():
            table = client.get_table(self._table, retry=self._retry, timeout=self._request_s)
        return {field.name: field.field_type for field in table.schema}

    def _bounds(self, since: date | None) -> dict[str, date | datetime]:
        """Parameter -> value, of the date column's own type, so that partitions are pruned."""
        kind = self._types.get(self.config.date)
        if kind not in ("DATE", "DATETIME", "TIMESTAMP"):
            raise DataError(f"`{self.config.date}` must be a DATE, DATETIME or TIMESTAMP of {self._table}, got {kind}")
        first, last = max(filter(None, (self.config.first_date, since)), default=None), self.config.last_date
        days = {"first": first, "end": last + timedelta(days=1) if last else None}
        return {name: _moment(day, kind) for name, day in days.items() if day is not None}

    def _select(self, columns: Sequence[str], since: date | None) -> str:
        """The text of the query. Names cannot be parameters, so they are held to a strict pattern."""
        for name in (*columns, self.config.date):
            if not COLUMN.fullmatch(name):
                raise DataError(f"a BigQuery column must consist of letters, digits and _, got {name!r}; use a view")
            if self._types.get(name) in UNREADABLE:
                raise DataError(
                    f"`{name}` must be of a type that a table can hold, got {self._types[name]} in {self._table}; "
                    "cast it in a view, or name the columns to read in data.columns"
                )
        day, signs = f"`{self.config.date}`", {"first": ">=", "end": "<"}
        bounds = [f"{day} {signs[name]} @{name}" for name in self._bounds(since)]
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        names = ", ".join(f"`{name}`" for name in columns)
        return f"SELECT {names} FROM `{self._table}`{where} ORDER BY {day}"  # noqa: S608

    @cached_property
    def _client(self) -> Any:
        try:
            from google.cloud import bigquery
        except ImportError:
            raise ConfigError(
                "data.kind bigquery needs the package google-cloud-bigquery; install raytrain with the extra `gcp`"
            ) from None
        settings = self.config.bigquery
        options = {"api_endpoint": settings.api_endpoint} if settings.api_endpoint else None
        project = settings.project or self._table.partition(".")[0]
        return bigquery.Client(project, self._credentials, location=settings.location, client_options=options)

    @cached_property
    def _credentials(self) -> Any:
        from google.auth import credentials, default, exceptions

        if self.config.bigquery.api_endpoint:
            return credentials.AnonymousCredentials()  # type: ignore[no-untyped-call]
        try:
            return default(scopes=SCOPES)[0]
        except exceptions.DefaultCredentialsError as error:
            raise ConfigError(
                f"data.kind bigquery needs credentials, got none; run `gcloud auth application-default login`: {error}"
            ) from None

    @property
    def _retry(self) -> Any:
        from google.cloud.bigquery import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self.config.bigquery.timeout_s)

    @property
    def _request_s(self) -> float:
        return min(REQUEST_S, self.config.bigquery.timeout_s)

    def _new_job(self, sql: str, since: date | None) -> Any:
        """Start the query and note it, before anything is waited for."""
        from google.cloud import bigquery

        kind = self._types[self.config.date]
        values = [bigquery.ScalarQueryParameter(name, kind, value) for name, value in self._bounds(since).items()]
        job_config = bigquery.QueryJobConfig(
            query_parameters=values, maximum_bytes_billed=self.config.bigquery.maximum_bytes_billed
        )
        # jobs.query, because jobs.insert wants more than read-only scopes.
        job = self._client.query(
            sql, job_config, api_method="QUERY", retry=self._retry, timeout=self._request_s, job_retry=None
        )
        if self.job_note is not None:
            noted = {"job": job.job_id, "location": job.location, "asked": self._asked(sql, since), "at": time.time()}
            with replacing(self.job_note) as file:
                file.write(json.dumps(noted).encode())
        return job

    def _noted_job(self, sql: str, since: date | None) -> Any | None:
        """The job of an export that was killed, if it asked the same not long ago and can be found."""
        from google.api_core.exceptions import NotFound

        try:
            noted = dict(json.loads(self.job_note.read_text())) if self.job_note is not None else {}
        except (OSError, ValueError, TypeError):
            return None
        young = 0 <= time.time() - noted.get("at", 0) < JOB_LIFE_S
        if not young or noted.get("asked") != self._asked(sql, since):
            return None
        with suppress(NotFound):
            job = self._client.get_job(
                noted["job"], location=noted["location"], retry=self._retry, timeout=self._request_s
            )
            return None if job.error_result else job
        return None

    def _asked(self, sql: str, since: date | None) -> str:
        values = {name: str(value) for name, value in self._bounds(since).items()}
        return hashlib.sha256(json.dumps([sql, values]).encode()).hexdigest()

    def _wait(self, job: Any) -> Any:
        return job.result(page_size=PAGE_ROWS, retry=self._retry, timeout=self.config.bigquery.timeout_s)

    def _stream(self, job: Any, rows: Any) -> Iterator[Any]:
        """Record batches, by the Storage Read API where it is installed and allowed, else page by page."""
        from google.api_core.exceptions import Forbidden, GoogleAPIError

        batches = self._storage_batches(job, rows)
        try:
            first = next(batches, None)
        except GoogleAPIError as error:
            way_out = "; with the role BigQuery Read Session User it is faster" if isinstance(error, Forbidden) else ""
            self.notes.append(
                f"{self._table} was read page by page, as the Storage Read API refused: {_first_line(error)}{way_out}"
            )
            first = None
        if first is None:
            yield from rows.to_arrow_iterable()
        else:
            yield first
            yield from batches

    def _storage_batches(self, job: Any, rows: Any) -> Iterator[Any]:
        """What the Storage Read API gives; nothing where it is not asked."""
        # It knows nothing of api_endpoint and would ask Google; and one page is quicker than a read session.
        if self.config.bigquery.api_endpoint or rows.total_rows <= PAGE_ROWS:
            return iter(())
        client = open_client(self._credentials)
        if client is None:
            return iter(())
        return read_table(client, job.destination.to_bqstorage(), job.project, self.config.bigquery.timeout_s)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """What went wrong, as an error of the person (permission, query) or of the moment (network, server)."""
        from concurrent.futures import TimeoutError as WaitedTooLong

        from google.api_core.exceptions import Aborted, Cancelled, ClientError, GoogleAPIError, TooManyRequests
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            yield
        except (TooManyRequests, Aborted, Cancelled, WaitedTooLong, RequestException) as error:
            raise self._unavailable(error) from None
        except (ClientError, GoogleAuthError) as error:
            raise DataError(f"BigQuery refuses {self._table}: {_first_line(error)}") from None
        except GoogleAPIError as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: BaseException) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self._table} did not answer within data.bigquery.timeout_s of {self.config.bigquery.timeout_s:g} s: "
            f"{_first_line(error)}; start the command again"
        )


def _plain(batch: Any) -> pl.DataFrame:
    """The table of a record batch, less Google's marks that make DATETIME, JSON and GEOGRAPHY types of their own."""
    import pyarrow as pa

    return cast(pl.DataFrame, pl.from_arrow(pa.RecordBatch.from_arrays(batch.columns, names=batch.schema.names)))


def _moment(day: date, kind: str) -> date | datetime:
    if kind == "DATE":
        return day
    return datetime(day.year, day.month, day.day, tzinfo=UTC if kind == "TIMESTAMP" else None)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
