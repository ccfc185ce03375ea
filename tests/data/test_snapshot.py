"""A snapshot is read as it was written, or refused."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from raytrain.data.snapshot import Manifest, Snapshot, file_hash
from raytrain.errors import DataError


@pytest.fixture
def folder(snapshot: Path, tmp_path: Path) -> Path:
    """A snapshot with no other beside it."""
    return Path(shutil.move(snapshot, tmp_path / "alone"))


def read_snapshot(folder: Path) -> pl.DataFrame:
    return Snapshot.open(folder).read()


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    with suppress(ValidationError):
        manifest["sha256"] = Manifest.model_validate(manifest).digest
    path.write_text(json.dumps(manifest))


def test_round_trip(folder: Path, bars: pl.DataFrame) -> None:
    assert read_snapshot(folder).equals(bars)
    entry = json.loads((folder / "manifest.json").read_text())["files"][0]
    assert (entry["rows"], entry["first_date"], entry["last_date"]) == (60, "2020-01-01", "2020-01-30")
    assert entry["columns"]["is_roll"] == "Boolean"
    Snapshot.open(folder).verify()


def test_several_files_are_one_table(folder: Path, bars: pl.DataFrame) -> None:
    part = folder / "part-1.parquet"
    bars.head(5).write_parquet(part)

    def add(manifest: dict[str, Any]) -> None:
        manifest["files"].append(manifest["files"][0] | {"file": part.name, "rows": 5, "sha256": file_hash(part)})

    edit(folder, add)
    assert read_snapshot(folder).equals(pl.concat([bars, bars.head(5)]))


def test_every_single_flipped_bit_is_caught(folder: Path) -> None:
    path, snapshot = folder / "2020.parquet", Snapshot.open(folder)
    raw = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for position, bit in itertools.product(range(len(raw)), range(8)):
            os.pwrite(file.fileno(), bytes([raw[position] ^ 1 << bit]), position)
            with pytest.raises(DataError, match=r"2020\.parquet was changed: sha256 .* export again"):
                snapshot.part(snapshot.manifest.files[0])
            os.pwrite(file.fileno(), raw[position : position + 1], position)
    snapshot.verify()


def test_a_changed_byte_is_refused_by_every_reader(folder: Path) -> None:
    path = folder / "2020.parquet"
    raw = path.read_bytes()
    for position in range(0, len(raw), 199):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
        for check in (Snapshot.open(folder).verify, Snapshot.open(folder).read):
            with pytest.raises(DataError, match=r"2020\.parquet was changed: sha256 .* export again"):
                check()


def test_a_changed_bit_of_the_manifest_is_refused_or_means_nothing(folder: Path) -> None:
    path = folder / "manifest.json"
    raw, whole, refused = path.read_bytes(), Snapshot.open(folder).manifest, 0
    for position in range(len(raw)):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ (1 << position % 8)]) + raw[position + 1 :])
        try:
            assert Snapshot.open(folder).manifest == whole
        except DataError:
            refused += 1
    assert refused > len(raw) / 2


def test_a_torn_manifest_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    raw = path.read_bytes()
    for length in range(0, len(raw), 31):
        path.write_bytes(raw[:length])
        with pytest.raises(DataError, match=r"must be a snapshot's manifest, got .*; use the previous snapshot"):
            read_snapshot(folder)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "2020.parquet").unlink()
    with pytest.raises(DataError, match=r"2020\.parquet is listed in the manifest but missing; restore it"):
        read_snapshot(folder)


def test_an_extra_file_is_refused(folder: Path) -> None:
    (folder / "part-1.parquet").touch()
    with pytest.raises(DataError, match=r"only what its manifest lists, got part-1\.parquet"):
        read_snapshot(folder)


@pytest.mark.parametrize("name", ["../2020.parquet", "/etc/passwd", "", ".", "..", "sub/2020.parquet"])
def test_a_name_outside_the_folder_is_refused(name: str, folder: Path) -> None:
    shutil.copy(folder / "2020.parquet", folder.parent)
    edit(folder, lambda manifest: manifest["files"][0].update(file=name))
    with pytest.raises(DataError, match=r"of its own folder only|only what its manifest lists"):
        read_snapshot(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["files"][0].update(rows=61), "must have 61 rows as its manifest says, got 60"),
        (lambda m: m["files"][0].update(file=5), "files.0.file"),
        (lambda m: m["files"][0].update(sha256=None), "files.0.sha256"),
        (lambda m: m["files"][0].pop("rows"), "Field required at files.0.rows"),
        (lambda m: m.update(files=[]), "at files"),
        (lambda m: m.update(files="2020.parquet"), "at files"),
        (lambda m: m.update(version=2), "at version"),
        (lambda m: m.clear(), "Field required"),
    ],
)
def test_a_wrong_manifest_is_refused(change: Callable[[dict[str, Any]], None], said: str, folder: Path) -> None:
    edit(folder, change)
    with pytest.raises(DataError) as error:
        read_snapshot(folder)
    assert said in str(error.value)


@pytest.mark.parametrize("content", ["[]", "null", "{", "\xff", '"manifest"'])
def test_what_is_no_manifest_is_refused(content: str, folder: Path) -> None:
    (folder / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match="must be a snapshot's manifest"):
        read_snapshot(folder)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a snapshot's manifest, got FileNotFoundError"):
        read_snapshot(tmp_path)


def test_files_that_do_not_go_together_are_refused(folder: Path) -> None:
    part = folder / "part-1.parquet"
    pl.DataFrame({"other": [1]}).write_parquet(part)

    def add(manifest: dict[str, Any]) -> None:
        manifest["files"].append(manifest["files"][0] | {"file": part.name, "rows": 1, "sha256": file_hash(part)})

    edit(folder, add)
    with pytest.raises(DataError, match="must be tables with equal columns"):
        read_snapshot(folder)


def test_a_listed_file_that_is_no_parquet_is_refused(folder: Path) -> None:
    path = folder / "2020.parquet"
    path.write_text("PAR1 and nothing more")
    edit(folder, lambda manifest: manifest["files"][0].update(sha256=file_hash(path)))
    with pytest.raises(DataError, match="must be tables"):
        read_snapshot(folder)
