"""One run at a time per store, and a killed one is no obstacle."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raytrain.errors import ConfigError, StoreLocked
from raytrain.work.lock import hold

HOLD = """
import sys, time
from pathlib import Path
from raytrain.work.lock import hold
with hold(Path(sys.argv[1]), "run 7"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(store: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_run_is_told_who_holds_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    store = tmp_path / "deep" / "store"
    with holder(store) as process:
        with pytest.raises(StoreLocked) as error, hold(store, "run 8"):
            pass
        assert f"one run at a time may hold {store}, now it is run 7 with pid {process.pid} since 20" in str(
            error.value
        )
        assert str(error.value).endswith("; wait for it or end it")
        process.kill()
    with hold(store, "run 9"):
        pass


def test_the_same_process_cannot_hold_twice(tmp_path: Path) -> None:
    with hold(tmp_path, "run 7"), pytest.raises(StoreLocked, match=f"run 7 with pid {os.getpid()}"):
        with hold(tmp_path, "run 8"):
            pass


def test_an_error_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(tmp_path, "run 7"):
        raise ZeroDivisionError
    with hold(tmp_path, "run 8"):
        assert (tmp_path / "lock.json").exists()
    assert not (tmp_path / "lock.json").exists()


def test_a_note_that_cannot_be_written_frees_it(tmp_path: Path) -> None:
    (tmp_path / "lock.json").mkdir()
    with pytest.raises(IsADirectoryError), hold(tmp_path, "run 7"):
        pass
    (tmp_path / "lock.json").rmdir()
    with hold(tmp_path, "run 8"):
        pass


def test_a_run_that_left_no_name_is_still_in_the_way(tmp_path: Path) -> None:
    with hold(tmp_path, "run 7"):
        (tmp_path / "lock.json").write_text("{")
        with pytest.raises(StoreLocked, match="a run that left no name"), hold(tmp_path, "run 8"):
            pass


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match="store must be a folder that can be written"), hold(tmp_path / "file", "x"):
        raise AssertionError("it was held")
