"""The process that talks to MLflow: `python -m raytrain.tracking.mlflow_writer URI ARTIFACTS EXPERIMENT < record`.

It reads a `RunRecord` as JSON and prints the id of the parent run. When MLflow refuses, the last line on stderr is the
cause. Everything goes through `MlflowClient`; the fluent API keeps a run open in a global.
"""

import math
import re
import sys
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from raytrain.tracking.records import ChildRecord, RunRecord, Status

RUN_ID_TAG = "raytrain.run_id"
NON_FINITE_TAG = "raytrain.metrics_not_finite"


def write(client: Any, artifact_uri: str, experiment: str, record: RunRecord) -> str:
    """Log a run and its children; the parent is ended last, so a parent that is FINISHED is complete.

    Args:
        client: an `MlflowClient`.
    """
    experiment_id = _experiment(client, artifact_uri, experiment)
    _end_left_over(client, experiment_id)
    tags = {**record.tags, RUN_ID_TAG: record.run_id}
    parent = client.create_run(experiment_id, record.started_at, tags, run_name=record.run_id).info.run_id
    _log(client, parent, record, record.ended_at)
    for path in record.artifacts:
        client.log_artifact(parent, str(path))
    for child in record.children:
        _write_child(client, experiment_id, parent, record, child)
    client.set_terminated(parent, record.status, record.ended_at)
    return str(parent)


def _write_child(client: Any, experiment_id: str, parent: str, record: RunRecord, child: ChildRecord) -> None:
    tags = {
        **child.tags,
        RUN_ID_TAG: record.run_id,
        "mlflow.parentRunId": parent,
        "family": child.family,
        "target": child.target,
    }
    name = child.name or f"{child.family} {child.target}"
    run = client.create_run(experiment_id, record.started_at, tags, run_name=name).info.run_id
    _log(client, run, child, record.ended_at)
    client.set_terminated(run, child.status, record.ended_at)


def _experiment(client: Any, artifact_uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name, artifact_location=artifact_uri))


def _end_left_over(client: Any, experiment_id: str) -> None:
    """One driver writes to a store at a time, so a run of ours that is still RUNNING has lost its writer."""
    killed: Status = "KILLED"
    query = f"attributes.status = 'RUNNING' AND tags.`{RUN_ID_TAG}` LIKE '%'"
    for run in client.search_runs([experiment_id], query):
        client.set_terminated(run.info.run_id, killed)


def _log(client: Any, run: str, record: RunRecord | ChildRecord, timestamp_ms: int) -> None:
    from mlflow.entities import Metric, Param, RunTag

    finite, non_finite = split_finite(record.metrics)
    client.log_batch(
        run,
        metrics=[Metric(valid_key(name), value, timestamp_ms, 0) for name, value in finite.items()],
        params=[Param(valid_key(name), value) for name, value in record.params.items()],
        tags=[RunTag(NON_FINITE_TAG, ", ".join(non_finite))] if non_finite else [],
    )


def split_finite(metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """The finite metrics, and the names of the others: MLflow would store infinity as 1.8e308, a number to average."""
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return finite, sorted(metrics.keys() - finite.keys())


def valid_key(name: str) -> str:
    """A name that MLflow takes: letters, digits, `_.- :`, at most 250 characters.

    >>> valid_key("mape_bull/2020 (late)")
    'mape_bull_2020 _late_'
    """
    return re.sub(r"[^\w.\- :]", "_", name)[:250]


def main(arguments: list[str]) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    uri, artifact_uri, experiment = arguments
    record = TypeAdapter(RunRecord).validate_json(sys.stdin.read())
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        print(write(client, artifact_uri, experiment, record))
    except (MlflowException, SQLAlchemyError) as error:
        sys.exit(str(error).splitlines()[0])


if __name__ == "__main__":
    main(sys.argv[1:])
