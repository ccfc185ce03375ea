import os
import platform
import time
from pathlib import Path

import pytest

from raytrain.machine import awake


@pytest.fixture
def caffeinate(tmp_path: Path, monkeypatch) -> Path:
    """A stand-in that writes its arguments and its pid, then waits."""
    program = tmp_path / "caffeinate"
    program.write_text(
        f'#!/bin/sh\necho "$$ $@" > {tmp_path}/part && mv {tmp_path}/part {tmp_path}/seen\nexec sleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(awake, "CAFFEINATE", program)
    return tmp_path / "seen"


def wait_for(path: Path) -> str:
    while not path.exists():
        time.sleep(0.01)
    return path.read_text()


def test_a_mac_is_kept_awake_for_the_run_and_no_longer(caffeinate, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with awake.keep_awake():
        pid, *arguments = wait_for(caffeinate).split()
        assert arguments == ["-is", "-w", str(os.getpid())]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_an_error_in_the_run_also_ends_it(caffeinate, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(RuntimeError, match="the run"), awake.keep_awake():
        pid = int(wait_for(caffeinate).split()[0])
        raise RuntimeError("the run")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_elsewhere_nothing_is_started(caffeinate, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(awake.subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a program was started"))
    with awake.keep_awake():
        assert not caffeinate.exists()
