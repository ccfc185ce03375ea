"""Forecasts as a partitioned BigQuery table, and a graph as a BigQuery ML model."""

import io
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from raytrain.data.frame import SERIES
from raytrain.deploy.google import credentials, refusals
from raytrain.deploy.kept import PARTITION, SOURCE, BigQueryTarget, Kept
from raytrain.deploy.ml_predict import compare_model, predict
from raytrain.deploy.smoke import DeployFailed
from raytrain.deploy.steps import Step
from raytrain.errors import ConfigError

_RUN_S = 600.0
"""Seconds that a job may take."""


def bigquery_steps(kept: Kept, config: BigQueryTarget) -> list[Step]:
    """What `deploy_bigquery` does."""
    load = {"source_format": "PARQUET", "write_disposition": "WRITE_TRUNCATE", "partitioned_by": PARTITION}
    steps = [
        Step(f"replace one day by {len(kept.forecasts)} forecasts", call=f"LOAD {_partition(kept)}", body=load),
        Step("compare what is there with what was sent", call=f"QUERY {_count(kept)}"),
    ]
    if kept.graph is not None:
        steps.append(Step("upload the graph", call=f"PUT gs://{config.bucket}/{kept.place}"))
        steps.append(Step("import it", call=f"QUERY {create_model(kept, config)}"))
        steps.append(Step("compare what it forecasts with the bundle's own", call=f"QUERY {predict(kept.model)}"))
    return steps


def _partition(kept: Kept) -> str:
    return f"{kept.table}${kept.day:%Y%m%d}"


def _count(kept: Kept) -> str:
    # Names are held to strict patterns where they are given.
    return (
        f"SELECT target, series_id, {SOURCE} FROM `{kept.table}` WHERE {PARTITION} = '{kept.day}' "  # noqa: S608
        "ORDER BY target, series_id"
    )


def create_model(kept: Kept, config: BigQueryTarget) -> str:
    """The statement that imports the graph; its input `x` is what preparation.json makes of the features."""
    path = f"gs://{config.bucket}/{kept.place}"
    return f"CREATE OR REPLACE MODEL `{kept.model}` OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='{path}')"


def deploy_bigquery(kept: Kept, config: BigQueryTarget) -> Iterator[str]:
    """Load and compare; upload, import and compare. Doing it again changes nothing.

    Yields:
        A sentence about each.

    Raises:
        ConfigError: no credentials, or a package is not there.
        DeployFailed: Google refuses or does not answer, the table holds something else, or the model
            forecasts something else.
    """
    clients = Clients(config)
    with refusals("BigQuery", kept.table):
        clients.load(kept)
        clients.require_there(kept)
    yield f"{_partition(kept)} holds these {len(kept.forecasts)} forecasts, each once"
    if kept.graph is not None:
        with refusals("Cloud Storage", config.bucket):
            clients.upload(kept.graph, kept.place)
        with refusals("BigQuery", kept.model):
            clients.query(create_model(kept, config))
        yield f"{kept.model} is imported from gs://{config.bucket}/{kept.place}"
        with refusals("BigQuery", kept.model):
            told = compare_model(kept, clients.query)
        yield told


class Clients:
    """BigQuery and Cloud Storage."""

    def __init__(self, config: BigQueryTarget) -> None:
        self._config = config
        try:
            from google.cloud import bigquery
        except ImportError:
            raise ConfigError(
                "deploying to bigquery needs the package google-cloud-bigquery; install raytrain with the extra `gcp`"
            ) from None
        self._api: Any = bigquery

    @cached_property
    def _client(self) -> Any:
        options = {"api_endpoint": self._config.api_endpoint} if self._config.api_endpoint else None
        who = credentials(self._config.api_endpoint)
        return self._api.Client(self._config.project, who, location=self._config.location, client_options=options)

    def load(self, kept: Kept) -> None:
        """Replace the partition."""
        content = io.BytesIO()
        kept.forecasts.write_parquet(content)
        content.seek(0)
        how = self._api.LoadJobConfig(
            source_format=self._api.SourceFormat.PARQUET,
            write_disposition=self._api.WriteDisposition.WRITE_TRUNCATE,
            time_partitioning=self._api.TimePartitioning(type_=self._api.TimePartitioningType.DAY, field=PARTITION),
            schema=_schema(self._api, kept.forecasts),
        )
        job = self._client.load_table_from_file(content, _partition(kept), job_config=how, timeout=_RUN_S)
        job.result(timeout=_RUN_S)

    def query(self, sql: str, *parameters: Any) -> Any:
        """The rows of an answer."""
        how = self._api.QueryJobConfig(query_parameters=list(parameters))
        return self._client.query(sql, job_config=how).result(timeout=_RUN_S)

    def require_there(self, kept: Kept) -> None:
        """See that the partition holds just these forecasts.

        Raises:
            DeployFailed: it does not.
        """
        there = [tuple(row) for row in self.query(_count(kept))]
        sent = kept.forecasts.select("target", SERIES, SOURCE).sort("target", SERIES).rows()
        if there != sent:
            raise DeployFailed(
                f"{_partition(kept)} must hold the {len(sent)} forecasts that were sent, got {len(there)}; does "
                "somebody else write there?"
            )

    def upload(self, graph: Path, place: str) -> None:
        """Put the graph where BigQuery finds it."""
        try:
            storage: Any = import_module("google.cloud.storage")
        except ImportError:
            raise ConfigError(
                "importing a graph needs the package google-cloud-storage; install raytrain with the extra `gcp`"
            ) from None
        options = {"api_endpoint": self._config.storage_endpoint} if self._config.storage_endpoint else None
        who = credentials(self._config.storage_endpoint)
        client = storage.Client(self._config.project, who, client_options=options)
        client.bucket(self._config.bucket).blob(place).upload_from_filename(str(graph), checksum="crc32c")


def _schema(api: Any, table: pl.DataFrame) -> list[Any]:
    """Said, not guessed, so that a column of nulls keeps its type."""
    return [api.SchemaField(name, _type(kind)) for name, kind in table.schema.items()]


def _type(kind: pl.DataType) -> str:
    if kind.is_float():
        return "FLOAT64"
    if kind.is_integer():
        return "INT64"
    named = {pl.Date: "DATE", pl.Datetime: "DATETIME", pl.Boolean: "BOOL"}
    return named.get(kind.base_type(), "STRING")
