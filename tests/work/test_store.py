"""A result is there whole or not at all, whoever is killed and whatever is changed on disk."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from raytrain.errors import StoreCorrupt
from raytrain.work.store import ResultStore

KEY = "ab" * 16
PREDICTIONS = pl.DataFrame({"series_id": ["A", "B"], "q0.5": [0.1, -0.2]})
RESULT: dict[str, Any] = {"key": KEY, "cost": {"wall_s": 1.5}}


@pytest.fixture
def written(store: ResultStore) -> ResultStore:
    store.write(KEY, PREDICTIONS, RESULT)
    return store


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_round_trip(written: ResultStore) -> None:
    assert written.has(KEY)
    written.verify(KEY)
    assert written.predictions(KEY).equals(PREDICTIONS)
    assert written.result(KEY) == RESULT
    assert list(written.results()) == [RESULT]
    folder = f"fits/ab/{KEY}"
    assert files(written.root) == {f"{folder}/{name}" for name in ("predictions.parquet", "result.json", "SHA256SUMS")}


def test_the_checksums_are_for_sha256sum(written: ResultStore) -> None:
    """`<hash>  <name>` per line."""
    folder = written.folder(KEY)
    names = ("predictions.parquet", "result.json")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    assert (folder / "SHA256SUMS").read_text() == "".join(lines)


def test_an_empty_store_has_nothing(store: ResultStore) -> None:
    assert not store.has(KEY)
    assert store.finished([KEY]) == set()
    assert list(store.results()) == []
    assert store.sweep() == 0
    assert not store.root.exists()


def test_a_result_is_never_changed(written: ResultStore) -> None:
    written.write(KEY, PREDICTIONS.head(1), {"key": KEY})
    assert written.predictions(KEY).equals(PREDICTIONS)
    assert len(files(written.root)) == 3


def test_a_result_that_cannot_be_json_leaves_nothing(store: ResultStore) -> None:
    with pytest.raises(TypeError):
        store.write(KEY, PREDICTIONS, {"cost": object()})
    assert files(store.root) == set()
    assert not store.has(KEY)


def flip(raw: bytes, position: int) -> bytes:
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]


def cut(raw: bytes, position: int) -> bytes:
    return raw[:position]


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("name", ["predictions.parquet", "result.json", "SHA256SUMS"])
def test_damage_is_seen_wherever_it_is(name: str, damage: Callable[[bytes, int], bytes], written: ResultStore) -> None:
    path = written.folder(KEY) / name
    raw = path.read_bytes()
    for position in range(0, len(raw), 1 if len(raw) < 400 else 11):
        path.write_bytes(damage(raw, position))
        with pytest.raises(StoreCorrupt, match=KEY):
            written.verify(KEY)


@pytest.mark.parametrize("name", ["predictions.parquet", "result.json", "SHA256SUMS"])
def test_a_missing_file_is_seen(name: str, written: ResultStore) -> None:
    (written.folder(KEY) / name).unlink()
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        written.verify(KEY)


def test_what_is_damaged_is_put_aside_and_written_again(written: ResultStore) -> None:
    other = "cd" * 16
    written.write(other, PREDICTIONS, {"key": other})
    for times in (1, 2):
        (written.folder(KEY) / "result.json").write_text("{}")
        assert written.finished([KEY, other, "ef" * 16]) == {other}
        assert not written.has(KEY)
        assert len(list((written.root / "damaged").iterdir())) == times
        written.write(KEY, PREDICTIONS, RESULT)
        assert written.finished([KEY]) == {KEY}


def test_facts_that_cannot_be_read_do_not_stop_a_run(written: ResultStore) -> None:
    other = "cd" * 16
    written.write(other, PREDICTIONS, {"key": other})
    (written.folder(other) / "result.json").write_text('{"key": ')
    (written.folder(KEY).parent / ".half").mkdir()
    (written.folder(KEY).parent / ".half" / "result.json").write_text("{}")
    assert list(written.results()) == [RESULT]


MANY = """
import sys
from pathlib import Path
import polars as pl
from raytrain.work.store import ResultStore
store = ResultStore(Path(sys.argv[1]))
for number in range(40):
    store.write(f"{number:032x}", pl.DataFrame({"number": [number]}), {"number": number})
"""


def test_two_processes_may_write_the_same_keys(store: ResultStore) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", MANY, str(store.root)]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    keys = [f"{number:032x}" for number in range(40)]
    assert store.finished(keys) == set(keys)
    assert [store.predictions(key)["number"][0] for key in keys] == list(range(40))
    assert len(files(store.root)) == 3 * 40


KILLED = """
import os, signal, sys
from pathlib import Path
import polars as pl
from raytrain.work.store import ResultStore
left = int(sys.argv[2])
def deadly(call):
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **kwargs)
    return counted
for name in ("mkdir", "fsync", "rename"):
    setattr(os, name, deadly(getattr(os, name)))
ResultStore(Path(sys.argv[1])).write("ab" * 16, pl.DataFrame({"x": [1.0]}), {"x": 1})
"""


def test_a_writer_killed_at_any_moment_leaves_nothing_torn(tmp_path: Path) -> None:
    """Killed before its n-th step on disk, for every n."""
    for calls in range(30):
        store = ResultStore(tmp_path / str(calls))
        done = subprocess.run([sys.executable, "-c", KILLED, str(store.root), str(calls)], check=False)
        assert done.returncode in (0, -signal.SIGKILL)
        if store.has(KEY):
            store.verify(KEY)
        else:
            store.sweep()
            assert files(store.root) == set()
            store.write(KEY, PREDICTIONS, RESULT)
        assert store.finished([KEY]) == {KEY}
        if done.returncode == 0:
            break
    assert calls >= 7, "a write syncs three files and two folders, and renames one"
    assert done.returncode == 0


def test_sweep_takes_what_dead_writers_left_and_nothing_else(written: ResultStore) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    prepared = written.root / "prepared"
    gone = [
        written.folder(KEY).with_name(f".{KEY}.0badcafe.{dead.pid}"),
        prepared / f".0123.0badcafe.{dead.pid}",
    ]
    kept = [
        written.folder(KEY).with_name(f".{KEY}.0badcafe.{os.getpid()}"),
        prepared / f".0123.0badcafe.{os.getpid()}",
        prepared / "0123",
    ]
    for folder in (*gone, *kept):
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({}))
    assert written.sweep() == 2
    assert [folder.exists() for folder in (*gone, *kept)] == [False, False, True, True, True]
    assert written.finished([KEY]) == {KEY}


@pytest.mark.parametrize("place", ["checkpoints/k", "prepared/d", "models/ab/m"])
def test_what_can_be_made_again_goes_after_a_week(
    place: str, written: ResultStore, age: Callable[[Path], None]
) -> None:
    old, new = written.root / place, written.root / f"{place}2"
    for folder in (old, new):
        folder.mkdir(parents=True)
    age(old)
    age(written.folder(KEY))
    assert written.sweep() == 1
    assert (old.exists(), new.exists(), written.has(KEY)) == (False, True, True)
