"""The process that keeps MLflow's registry: `python -m raytrain.tracking.registry_writer URI ARTIFACTS EXPERIMENT`.

It reads what the registry must show as JSON (`ModelState`, one per target), brings it up to date and prints how many
versions it made. Every step can be repeated: a version is found by the key in its tags and made with that tag in one
transaction, an alias points where it is told, and the tag that says how far the mirror has come is written last.
"""

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from raytrain.tracking.mlflow_writer import RUN_ID_TAG
from raytrain.tracking.registry_state import APPLIED_TAG, KEY_TAG, ModelState, VersionState


def sync(client: Any, experiment: str, models: Sequence[ModelState]) -> int:
    """Bring every registered model to its state; returns how many versions were made.

    Args:
        client: an `MlflowClient`.
        experiment: the name of the one in which the runs are.
        models: what each must look like.
    """
    found = client.get_experiment_by_name(experiment)
    runs = None if found is None else str(found.experiment_id)
    return sum(_sync_model(client, runs, model) for model in models)


def _sync_model(client: Any, runs: str | None, model: ModelState) -> int:
    applied = _registered(client, model)
    known = _versions(client, model.name)
    made = 0
    for version in model.versions:
        is_new = version.key not in known
        if version.seq > applied:
            run = _attach_decision(client, runs, model.target, version)
        elif is_new and version.key in model.aliases.values():
            run = None  # somebody has deleted a version that is needed; one that is not needed stays deleted
        else:
            continue
        if is_new:
            known[version.key] = _create(client, run, model, version)
            made += 1
        else:
            _describe(client, model.name, known[version.key], version)
    for alias, key in model.aliases.items():
        _point(client, model.name, alias, known.get(key or ""))
    client.set_registered_model_tag(model.name, APPLIED_TAG, str(model.seq))
    return made


def _registered(client: Any, model: ModelState) -> int:
    """The newest entry that the registered model shows; 0 for one that did not exist."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model.name, tags={"target": model.target})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return int(client.get_registered_model(model.name).tags.get(APPLIED_TAG, 0))


def _versions(client: Any, name: str) -> dict[str, str]:
    """Key -> the number of the version that has it in MLflow."""
    found: dict[str, str] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"], page_token=token)
        found |= {version.tags[KEY_TAG]: str(version.version) for version in page if KEY_TAG in version.tags}
        token = page.token
        if not token:
            return found


def _attach_decision(client: Any, runs: str | None, target: str, version: VersionState) -> str | None:
    """Keep the decision with the run that brought or promoted the version, where MLflow has that run; returns it."""
    run = None if runs is None else _run(client, runs, target, version)
    if run is not None:
        client.log_artifact(run, version.entry, "promotion")
    return run


def _create(client: Any, run: str | None, model: ModelState, version: VersionState) -> str:
    """Register a version; it and its tags appear in one transaction."""
    created = client.create_model_version(
        model.name,
        source=version.source,
        run_id=run,
        tags={**version.tags, KEY_TAG: version.key},
        description=version.description,
        await_creation_for=0,
    )
    return str(created.version)


def _describe(client: Any, name: str, number: str, version: VersionState) -> None:
    """A challenger that is promoted has another decision than the one it came with."""
    for tag, text in version.tags.items():
        client.set_model_version_tag(name, number, tag, text)
    client.update_model_version(name, number, version.description)


def _run(client: Any, experiment_id: str, target: str, version: VersionState) -> str | None:
    query = (
        f"tags.`{RUN_ID_TAG}` = '{version.run_id}' AND tags.family = '{version.family}' AND tags.target = '{target}'"
    )
    found = client.search_runs([experiment_id], query, max_results=1)
    return str(found[0].info.run_id) if found else None


def _point(client: Any, name: str, alias: str, version: str | None) -> None:
    """Let an alias name a version, or nothing."""
    present = client.get_registered_model(name).aliases.get(alias)
    if version is None and present is not None:
        client.delete_registered_model_alias(name, alias)
    elif version is not None and str(present) != version:
        client.set_registered_model_alias(name, alias, version)


def main(arguments: list[str]) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    uri, _, experiment = arguments
    models = TypeAdapter(list[ModelState]).validate_json(sys.stdin.read())
    try:
        print(sync(MlflowClient(tracking_uri=uri, registry_uri=uri), experiment, models))
    except (MlflowException, SQLAlchemyError) as error:
        sys.exit(str(error).splitlines()[0])


if __name__ == "__main__":
    main(sys.argv[1:])
