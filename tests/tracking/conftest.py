"""A store with promotions, and a look at what MLflow's registry shows of them."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from raytrain.evaluation.champions.journal import Action, Version, writing

Promote = Callable[..., Version]


@pytest.fixture
def promote() -> Promote:
    """Writes one entry of a journal."""

    def write(store: Path, family: str, action: Action = "promote", **given: Any) -> Version:
        about = {"target": "return_1w", "params": {"x": 1}, "run_id": "run-1", "reason": f"{family} it is"}
        version = Version(family=family, **(about | given))
        with writing(store, "a test") as journal:
            journal.append(action, version, "a test")
        return version

    return write


@pytest.fixture
def roll_back() -> Callable[[Path], None]:
    """Takes the last champion off."""

    def write(store: Path) -> None:
        with writing(store, "a test") as journal:
            [standing] = journal.standings().values()
            journal.append("rollback", standing.versions[standing.champions[-2]].version, "a test")

    return write


@pytest.fixture
def registry() -> Callable[[Path], dict[str, Any]]:
    """Model -> its versions as (number, key), its aliases and its newest entry, from the database itself."""

    def look(store: Path) -> dict[str, Any]:
        with closing(sqlite3.connect(store / "mlflow.db")) as connection:

            def ask(sql: str, *values: Any) -> list[tuple[Any, ...]]:
                return connection.execute(sql, values).fetchall()

            return {
                name: {
                    "versions": ask(
                        "SELECT v.version, t.value FROM model_versions v LEFT JOIN model_version_tags t "
                        "ON t.name = v.name AND t.version = v.version AND t.key = 'raytrain.key' "
                        "WHERE v.name = ? ORDER BY v.version",
                        name,
                    ),
                    "aliases": dict(ask("SELECT alias, version FROM registered_model_aliases WHERE name = ?", name)),
                    "applied": ask(
                        "SELECT value FROM registered_model_tags WHERE name = ? AND key = 'raytrain.applied'", name
                    ),
                }
                for (name,) in ask("SELECT name FROM registered_models ORDER BY name")
            }

    return look
