"""MLflow's registry mirrors the journal: each version once, aliases where the journal says, later where it is down."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from raytrain.evaluation.champions.journal import Journal, Version
from raytrain.tracking import mlflow_store
from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.mlflow_store import log_run
from raytrain.tracking.records import ChildRecord, RunRecord, TrackingFailed
from raytrain.tracking.registry import sync_registry, waiting

CONFIG = TrackingConfig()
MODEL = "raytrain-return_1w"
Look = Callable[[Path], dict[str, Any]]
Promote = Callable[..., Version]


def ask(store: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which one run was logged: to make one takes MLflow seconds."""
    store = tmp_path_factory.mktemp("template")
    children = [ChildRecord(family=family, target="return_1w") for family in ("tree", "net")]
    log_run(store, CONFIG, RunRecord(run_id="run-1", started_at=1, ended_at=2, status="FINISHED", children=children))
    return store / "mlflow.db"


@pytest.fixture
def store(database: Path, tmp_path: Path) -> Path:
    shutil.copy(database, tmp_path / "mlflow.db")
    return tmp_path


def test_versions_aliases_and_decisions_are_shown(store: Path, promote: Promote, registry: Look) -> None:
    (store / "bundles" / "k2").mkdir(parents=True)
    net = promote(store, "net", "challenge", decision={"verdict": "HOLD", "rules": [1, 2]})
    tree = promote(store, "tree", fit="k2", bundle="bundles/k2", decision={"verdict": "PROMOTE"})
    promote(store, "net", target="return_1m", run_id="never logged")
    assert waiting(Journal.read(store)) == 3
    assert sync_registry(store, CONFIG) == 3
    shown = registry(store)
    assert list(shown) == ["raytrain-return_1m", MODEL]
    assert shown[MODEL] == {
        "versions": [(1, net.key), (2, tree.key)],
        "aliases": {"champion": 2, "challenger": 1},
        "applied": [("2",)],
    }
    tags = dict(ask(store, f"SELECT key, value FROM model_version_tags WHERE name = '{MODEL}' AND version = 2"))
    assert tags == {
        "raytrain.key": tree.key,
        "raytrain.version": "2",
        "raytrain.run_id": "run-1",
        "raytrain.fit": "k2",
        "raytrain.bundle": "bundles/k2",
        "family": "tree",
        "target": "return_1w",
        "decision": "PROMOTE",
        "reason": "tree it is",
    }
    sources = dict(ask(store, f"SELECT version, source FROM model_versions WHERE name = '{MODEL}'"))
    assert sources[2] == (store / "bundles" / "k2").as_uri()
    assert sources[1].endswith(f"/promotions/000001-{net.key}.json")
    [(run,)] = ask(store, f"SELECT run_id FROM model_versions WHERE name = '{MODEL}' AND version = 1")
    assert ask(store, f"SELECT name FROM runs WHERE run_uuid = '{run}'") == [("net return_1w",)]
    [(artifacts,)] = ask(store, f"SELECT artifact_uri FROM runs WHERE run_uuid = '{run}'")
    attached = Path(artifacts.removeprefix("file://")) / "promotion" / f"000001-{net.key}.json"
    assert '"verdict":"HOLD"' in attached.read_text().replace(" ", "")
    assert waiting(Journal.read(store)) == 0


def test_a_version_whose_bundle_was_swept_is_shown_all_the_same(store: Path, promote: Promote, registry: Look) -> None:
    """The registry was down for longer than bundles are kept."""
    for fit in ("k1", "k2"):
        promote(store, "tree", fit=fit, bundle=f"bundles/{fit}")
    (store / "bundles" / "k2").mkdir(parents=True)
    assert sync_registry(store, CONFIG) == 2
    assert registry(store)[MODEL]["aliases"] == {"champion": 2}


def test_what_is_shown_already_starts_nothing(store: Path, promote: Promote, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(store, "tree")
    assert sync_registry(store, CONFIG) == 1
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("MLflow was started"))
    assert sync_registry(store, CONFIG) == 0


def test_a_rollback_and_a_withdrawal_move_the_aliases_and_make_no_version(
    store: Path, promote: Promote, roll_back: Callable[[Path], None], registry: Look
) -> None:
    for family in ("tree", "net"):
        promote(store, family)
    promote(store, "gru", "challenge")
    sync_registry(store, CONFIG)
    assert registry(store)[MODEL]["aliases"] == {"champion": 2, "challenger": 3}
    roll_back(store)
    promote(store, "gru", "withdraw")
    assert sync_registry(store, CONFIG) == 0
    assert registry(store)[MODEL]["aliases"] == {"champion": 1}
    assert len(registry(store)[MODEL]["versions"]) == 3


def test_a_challenger_that_is_promoted_gets_its_new_decision(store: Path, promote: Promote) -> None:
    promote(store, "tree", "challenge", reason="nearly", decision={"verdict": "HOLD"})
    sync_registry(store, CONFIG)
    promote(store, "tree", reason="all rules pass", decision={"verdict": "PROMOTE"})
    assert sync_registry(store, CONFIG) == 0
    tags = dict(ask(store, "SELECT key, value FROM model_version_tags"))
    assert (tags["decision"], tags["reason"]) == ("PROMOTE", "all rules pass")
    assert ask(store, "SELECT description FROM model_versions") == [("tree for return_1w: all rules pass",)]


def test_what_people_do_in_mlflow_is_left_where_it_is_not_in_the_way(
    store: Path, promote: Promote, registry: Look
) -> None:
    tree = promote(store, "tree")
    net = promote(store, "net")
    sync_registry(store, CONFIG)
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        for table in ("model_version_tags", "model_versions"):
            connection.execute(f"DELETE FROM {table} WHERE version = 1")
        connection.execute("UPDATE registered_model_aliases SET alias = 'mine'")
        connection.commit()
    assert sync_registry(store, CONFIG, always=True) == 0
    shown = registry(store)[MODEL]
    assert (shown["versions"], shown["aliases"]) == ([(2, net.key)], {"mine": 2, "champion": 2})
    promote(store, "tree", "to")
    assert sync_registry(store, CONFIG) == 1
    assert registry(store)[MODEL]["versions"] == [(2, net.key), (3, tree.key)]
    assert registry(store)[MODEL]["aliases"]["champion"] == 3


def test_a_new_database_shows_everything_again(store: Path, promote: Promote, registry: Look) -> None:
    tree = promote(store, "tree")
    sync_registry(store, CONFIG)
    (store / "mlflow.db").unlink()
    assert waiting(Journal.read(store)) == 1
    assert sync_registry(store, CONFIG) == 1
    assert registry(store)[MODEL]["versions"] == [(1, tree.key)]


def test_off_is_off(tmp_path: Path, promote: Promote) -> None:
    promote(tmp_path, "tree")
    assert sync_registry(tmp_path, TrackingConfig(mlflow=False)) == 0
    assert not (tmp_path / "mlflow.db").exists()


def test_nothing_to_show_makes_no_database(tmp_path: Path) -> None:
    assert sync_registry(tmp_path, CONFIG, always=True) == 0
    assert not any(tmp_path.iterdir())


def applied_once(store: Path, key: str, look: Look) -> None:
    """The registry is back: what has waited is applied, and not again."""
    assert sync_registry(store, CONFIG) == 1
    assert sync_registry(store, CONFIG, always=True) == 0
    assert look(store)[MODEL]["versions"] == [(1, key)]
    assert look(store)[MODEL]["aliases"] == {"champion": 1}


def test_promotions_wait_for_a_locked_registry_and_are_applied_once(
    store: Path, promote: Promote, registry: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_store, "LOCK_TIMEOUT_S", 0.2)
    tree = promote(store, "tree")
    with closing(sqlite3.connect(store / "mlflow.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(
                TrackingFailed, match=r"database is locked\. What was promoted is in force; 1 promotions"
            ):
                sync_registry(store, CONFIG)
    applied_once(store, tree.key, registry)


def test_promotions_wait_for_another_writer_of_ours(
    store: Path, promote: Promote, registry: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_store, "LOCK_TIMEOUT_S", 0.2)
    tree = promote(store, "tree")
    with mlflow_store.FileLock(store / ".mlflow.lock"), pytest.raises(TrackingFailed, match=r"\.mlflow\.lock"):
        sync_registry(store, CONFIG)
    monkeypatch.setattr(mlflow_store, "LOCK_TIMEOUT_S", 5.0)
    applied_once(store, tree.key, registry)


def test_promotions_wait_for_a_broken_database_to_be_moved_away(
    tmp_path: Path, promote: Promote, registry: Look
) -> None:
    tree = promote(tmp_path, "tree")
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingFailed, match="file is not a database"):
        sync_registry(tmp_path, CONFIG)
    assert (tmp_path / "mlflow.db").read_bytes() == b"not a database" * 100
    (tmp_path / "mlflow.db").unlink()
    applied_once(tmp_path, tree.key, registry)


def test_promotions_wait_for_a_registry_without_its_tables(store: Path, promote: Promote) -> None:
    promote(store, "tree")
    with closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("DROP TABLE registered_model_tags")
        connection.commit()
    with pytest.raises(TrackingFailed, match="no such table"):
        sync_registry(store, CONFIG)
    assert waiting(Journal.read(store)) == 1


def test_promotions_wait_for_an_mlflow_that_hangs(
    store: Path, promote: Promote, registry: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = promote(store, "tree")
    monkeypatch.setattr("raytrain.tracking.writer.WRITER_TIMEOUT_S", 0.2)
    with pytest.raises(TrackingFailed, match=r"no end after 0\.2 s"):
        sync_registry(store, CONFIG)
    monkeypatch.undo()
    applied_once(store, tree.key, registry)


READ_ONLY = """
import os, sys
from pathlib import Path
from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.records import TrackingFailed
from raytrain.tracking.registry import sync_registry
if os.getuid() == 0:
    os.setuid(65534)
try:
    sync_registry(Path(sys.argv[1]), TrackingConfig())
except TrackingFailed as error:
    print(error)
"""
"""As somebody who may not write: root may write everywhere."""


@pytest.fixture
def shared(store: Path) -> Iterator[Path]:
    """A store that everybody can reach; the folders of pytest are closed to others."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "store"
        shutil.copytree(store, folder)
        Path(root).chmod(0o755)
        yield folder


def test_promotions_wait_for_a_read_only_folder(shared: Path, promote: Promote, registry: Look) -> None:
    tree = promote(shared, "tree")
    for path in (shared, shared / "mlflow.db"):
        path.chmod(0o555)
    command = [sys.executable, "-c", READ_ONLY, str(shared)]
    env = os.environ | {"HOME": str(shared)}
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert "could not be brought up to date: [Errno 13] Permission denied" in said
    for path in (shared, shared / "mlflow.db"):
        path.chmod(0o755)
    applied_once(shared, tree.key, registry)


KILLED_AT = """
import os, shutil, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from pydantic import TypeAdapter
from raytrain.evaluation.champions.journal import Journal
from raytrain.tracking.registry_state import state_of
from raytrain.tracking.registry_writer import sync

def work(store, left):
    writes = False
    def dying():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    @event.listens_for(Engine, "before_cursor_execute")
    def note(connection, cursor, statement, *rest):
        nonlocal writes
        writes |= not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))
    @event.listens_for(Engine, "commit")
    def commit(connection):
        nonlocal writes
        if writes:
            dying()
        writes = False
    real = shutil.copyfileobj
    shutil.copyfileobj = lambda *args, **kwargs: (dying(), real(*args, **kwargs))[1]
    uri = f"sqlite:///{store}/mlflow.db"
    sync(MlflowClient(tracking_uri=uri, registry_uri=uri), "raytrain", state_of(Journal.read(store)))

def child(*given):
    pid = os.fork()
    if pid == 0:
        work(*given)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

template, root = map(Path, sys.argv[1:])
for number in range(1, 200):
    store = root / str(number)
    shutil.copytree(template, store)
    killed = child(store, number)
    assert killed in (0, signal.SIGKILL), killed
    assert child(store, 0) == 0
    if killed == 0:
        print(number)
        break
"""
"""Kills the sync before its n-th commit of a change, or copy, for every n, and runs it again.

Each run is a fork: MLflow takes seconds to load.
"""


def test_a_sync_killed_at_any_write_and_run_again_shows_each_version_once(
    store: Path, tmp_path_factory: pytest.TempPathFactory, promote: Promote, registry: Look
) -> None:
    tree, net = promote(store, "tree"), promote(store, "net", "challenge")
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", KILLED_AT, str(store), str(root)]
    tried = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert tried > 7
    for number in range(1, tried + 1):
        assert registry(root / str(number))[MODEL] == {
            "versions": [(1, tree.key), (2, net.key)],
            "aliases": {"champion": 1, "challenger": 2},
            "applied": [("2",)],
        }


def test_the_mirror_is_behind_where_it_cannot_be_read(tmp_path: Path, promote: Promote) -> None:
    promote(tmp_path, "tree")
    (tmp_path / "mlflow.db").mkdir()
    assert waiting(Journal.read(tmp_path)) == 1
