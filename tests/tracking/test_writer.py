"""A writer is a process that is given a time; nothing of it is left when that is over."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from raytrain.tracking import writer
from raytrain.tracking.writer import call_writer, cause


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that can be run by its name, `told`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "told.py"


def test_what_it_is_told_comes_back_from_another_process(module: Path) -> None:
    module.write_text("import json, os, sys\nprint('x')\nprint(json.load(sys.stdin), sys.argv[1:], os.environ['A'])\n")
    told = {"path": Path("/a/b"), "number": 2.5}
    assert call_writer("told", ["1"], told, {"A": "b"}) == "{'path': '/a/b', 'number': 2.5} ['1'] b"


def test_its_last_words_are_the_cause(module: Path) -> None:
    module.write_text("import sys\nprint('much', file=sys.stderr)\nsys.exit('No key.')\n")
    with pytest.raises(subprocess.CalledProcessError) as error:
        call_writer("told", [], {}, {})
    assert cause(error.value) == "No key"


def test_a_writer_that_hangs_dies_with_its_helpers(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that is left alive would hold the pipes, and the caller would wait for it."""
    pids = module.with_name("pids")
    module.write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{helper.pid}}')\n"
        "time.sleep(600)\n"
    )
    # The time begins when the helper is there, however busy the machine is.
    real = subprocess.Popen.communicate

    def communicate(self: subprocess.Popen[str], given: str, timeout: float) -> tuple[str, str]:
        while not pids.exists() or " " not in pids.read_text():
            time.sleep(0.01)
        return real(self, given, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    monkeypatch.setattr(writer, "WRITER_TIMEOUT_S", 0.1)
    with pytest.raises(subprocess.TimeoutExpired) as error:
        call_writer("told", [], {}, {})
    assert cause(error.value) == "no end after 0.1 s"
    end = time.monotonic() + 30
    while (alive := [pid for pid in map(int, pids.read_text().split()) if _runs(pid)]) and time.monotonic() < end:
        time.sleep(0.01)
    assert alive == []


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_is_this_python(module: Path) -> None:
    module.write_text("import sys\nprint(sys.executable)\n")
    assert call_writer("told", [], {}, {}) == sys.executable
