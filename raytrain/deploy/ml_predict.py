"""A graph that BigQuery ML runs: asked for forecasts as onnxruntime is, so that all that stands around it is the same.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-onnx
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from raytrain.deploy.forecaster import Forecaster
from raytrain.deploy.kept import Kept
from raytrain.deploy.onnx import INPUT, OUTPUT, Graph, load_graphs
from raytrain.deploy.smoke import DeployFailed
from raytrain.engines.base import FloatArray
from raytrain.engines.platt import Platt

_PLACE, _GIVEN = "place", "given"


class Query(Protocol):
    """Asks BigQuery."""

    def __call__(self, sql: str, *parameters: Any) -> Any:
        """The rows of the answer."""


def predict(model: str) -> str:
    """The statement that forecasts; its parameter is an array of structs, each with its place and the model's input."""
    return (
        f"SELECT {_PLACE}, {OUTPUT} FROM ML.PREDICT(MODEL `{model}`, "  # noqa: S608  # names are held to strict patterns
        f"(SELECT {_PLACE}, {INPUT} FROM UNNEST(@{_GIVEN}))) ORDER BY {_PLACE}"
    )


def compare_model(kept: Kept, query: Query) -> str:
    """See that the imported model forecasts what the bundle does.

    Returns:
        A sentence about it.

    Raises:
        DeployFailed: it does not.
    """
    assert kept.bundle is not None and kept.smoke is not None
    schema = kept.bundle.schema
    session = _Session(kept.model, len(schema.outputs), len(schema.levels), query)
    with Forecaster(kept.bundle, load_graphs(kept.bundle, session.graph)) as forecaster:
        found = forecaster.forecast(kept.smoke.rows)
    return kept.smoke.compare(found, "onnx", kept.model)


@dataclass(frozen=True)
class _Session:
    """What of onnxruntime's session a graph needs."""

    model: str
    num_outputs: int
    num_levels: int
    query: Query

    def graph(self, _: Path, calibration: Mapping[str, Any] | None) -> Graph:
        return Graph(self, None if calibration is None else Platt.from_json(calibration))

    def run(self, _: Sequence[str], feeds: Mapping[str, FloatArray]) -> list[FloatArray]:
        """As onnxruntime's: the values of the output, of (n, outputs, levels)."""
        x = feeds[INPUT]
        rows = [(row[_PLACE], list(_numbers(row[OUTPUT]))) for row in self.query(predict(self.model), _given(x))]
        shape = (len(x), self.num_outputs, self.num_levels)
        size, sizes = self.num_outputs * self.num_levels, sorted({len(values) for _, values in rows})
        if [place for place, _ in rows] != list(range(len(x))) or sizes != [size]:
            raise DeployFailed(
                f"{self.model} must forecast each of {len(x)} rows once, with {size} values, got {len(rows)} rows of "
                f"{' or '.join(map(str, sizes))} values; do not use it"
            )
        return [np.array([values for _, values in rows], dtype=np.float32).reshape(shape)]


def _given(x: FloatArray) -> Any:
    """The rows of a model's input as a parameter; float32 loses nothing on its way through FLOAT64."""
    from google.cloud import bigquery

    rows = [
        bigquery.StructQueryParameter(
            None,
            bigquery.ScalarQueryParameter(_PLACE, "INT64", place),
            bigquery.ArrayQueryParameter(INPUT, "FLOAT64", [float(value) for value in row]),
        )
        for place, row in enumerate(x)
    ]
    return bigquery.ArrayQueryParameter(_GIVEN, "STRUCT", rows)


def _numbers(value: Any) -> Iterator[float]:
    """In order, however the answer wraps them: BigQuery has no arrays of arrays for an output of more dimensions."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list):
        yield np.nan if value is None else float(value)
        return
    for one in value:
        yield from _numbers(one)


__all__ = ["compare_model", "predict"]
