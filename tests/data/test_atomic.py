"""A folder appears whole or not at all, and what killed writers leave is told from what living ones write."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from raytrain.data.atomic import is_abandoned, whole_folder


def fill(target: Path, text: str) -> None:
    with whole_folder(target) as building:
        (building / "a.txt").write_text(text)


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result"
    with whole_folder(target) as building:
        (building / "a.txt").write_text("x")
        assert not target.exists()
        assert building.parent == target.parent
    assert (target / "a.txt").read_text() == "x"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "result") as building:
        (building / "a.txt").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_first_writer_wins(tmp_path: Path) -> None:
    target = tmp_path / "result"
    fill(target, "first")
    with pytest.raises(FileExistsError, match="written by another process first"):
        fill(target, "second")
    assert (target / "a.txt").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_the_same_pid_are_in_nobodys_way(tmp_path: Path) -> None:
    """In a container a restarted job has the pid of the one that was killed."""
    (tmp_path / f".result.{os.getpid()}").mkdir()
    (tmp_path / f".result.00000000.{os.getpid()}").mkdir()
    fill(tmp_path / "result", "x")
    assert (tmp_path / "result" / "a.txt").read_text() == "x"


def test_a_living_writer_is_not_abandoned(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "result") as building:
        assert not is_abandoned(building)


def test_a_dead_writer_is(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    building = tmp_path / f".result.00000000.{process.pid}"
    building.mkdir()
    assert is_abandoned(building)


def test_a_reused_pid_is_not_the_writer(tmp_path: Path) -> None:
    building = tmp_path / f".result.00000000.{os.getpid()}"
    building.mkdir()
    before_us = psutil.Process().create_time() - 60
    os.utime(building, (time.time(), before_us))
    assert is_abandoned(building)


def test_a_folder_that_became_the_result_is_not_abandoned(tmp_path: Path) -> None:
    assert not is_abandoned(tmp_path / f".result.00000000.{os.getpid()}")


def test_a_name_without_a_pid_belongs_to_nobody(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").mkdir()
    assert is_abandoned(tmp_path / ".DS_Store")
