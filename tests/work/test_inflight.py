"""Who works on which fit: found by pid and start, told to stop, killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytrain.work import inflight
from raytrain.work.inflight import Inflight

WORK = """
import sys, time
from pathlib import Path
from raytrain.work.inflight import Inflight
with Inflight.enter(Path(sys.argv[1]), "fit") as inflight:
    print("in", flush=True)
    while not inflight.should_stop():
        time.sleep(0.02)
    print("stopped", flush=True)
"""


def worker(store: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WORK, str(store)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def left(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "inflight").iterdir())


def rewrite(store: Path, **values: Any) -> None:
    path = store / "inflight" / "fit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_file_is_there_as_long_as_the_fit(tmp_path: Path) -> None:
    with Inflight.enter(tmp_path, "fit"):
        assert json.loads((tmp_path / "inflight" / "fit.json").read_text())["pid"] == os.getpid()
    assert left(tmp_path) == []
    with pytest.raises(ZeroDivisionError), Inflight.enter(tmp_path, "fit"):
        raise ZeroDivisionError
    assert left(tmp_path) == []


def test_a_running_fit_hears_the_stop(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        inflight.ask_stop(tmp_path, "another")
        assert process.poll() is None
        inflight.ask_stop(tmp_path, "fit")
        out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == ("stopped\n", 0)
    assert left(tmp_path) == ["another.stop"]


def test_a_stop_asked_for_before_the_process_is_up_counts(tmp_path: Path) -> None:
    """A worker needs seconds to load its engine."""
    inflight.ask_stop(tmp_path, "fit")
    with Inflight.enter(tmp_path, "fit") as one:
        assert one.should_stop()
    assert left(tmp_path) == []


def test_a_stop_meant_for_a_dead_predecessor_does_not(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        process.send_signal(signal.SIGSTOP)
        inflight.ask_stop(tmp_path, "fit")
        process.kill()
    assert left(tmp_path) == ["fit.json", "fit.stop"]
    with Inflight.enter(tmp_path, "fit") as again:
        assert not again.should_stop()


def test_looking_for_the_stop_is_cheap_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(inflight.time, "monotonic", lambda: now[0])
    with Inflight.enter(tmp_path, "fit") as one:
        assert not one.should_stop()
        inflight.ask_stop(tmp_path, "fit")
        assert not one.should_stop(), "it looked a moment ago"
        now[0] += inflight.LOOK_EVERY_S
        assert one.should_stop()
        (tmp_path / "inflight" / "fit.stop").unlink()
        assert one.should_stop()


def test_kill_ends_the_process_and_its_traces(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        inflight.ask_stop(tmp_path, "another")
        assert inflight.kill(tmp_path, "fit")
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert left(tmp_path) == ["another.stop"]
    assert not inflight.kill(tmp_path, "fit")


@pytest.mark.parametrize("values", [{"created": 1.0}, {"host": "elsewhere"}], ids=["reused pid", "other host"])
def test_a_stranger_is_not_killed(values: dict[str, Any], tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        rewrite(tmp_path, **values)
        assert not inflight.kill(tmp_path, "fit")
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("content", ["", '{"pid": 1', "{}"])
def test_a_half_written_file_kills_nobody(content: str, tmp_path: Path) -> None:
    (tmp_path / "inflight").mkdir()
    (tmp_path / "inflight" / "fit.json").write_text(content)
    assert not inflight.kill(tmp_path, "fit")


def test_sweep_forgets_the_dead_of_this_host_only(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        process.kill()
    dead = json.loads((tmp_path / "inflight" / "fit.json").read_text())
    for name, values in {"dead": {}, "elsewhere": {"host": "elsewhere"}, "torn": None}.items():
        text = "{" if values is None else json.dumps(dead | values)
        (tmp_path / "inflight" / f"{name}.json").write_text(text)
        inflight.ask_stop(tmp_path, name)
    inflight.ask_stop(tmp_path, "never_begun")
    with Inflight.enter(tmp_path, "living"):
        inflight.ask_stop(tmp_path, "living")
        inflight.sweep(tmp_path)
        assert left(tmp_path) == ["elsewhere.json", "elsewhere.stop", "living.json", "living.stop"]


def test_sweeping_an_empty_store_makes_nothing(tmp_path: Path) -> None:
    inflight.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_has_begun_when_a_process_works_on_it(tmp_path: Path) -> None:
    assert not inflight.has_begun(tmp_path, "fit")
    with worker(tmp_path) as process:
        assert inflight.has_begun(tmp_path, "fit")
        process.kill()
    inflight.clear(tmp_path, "fit")
    assert not inflight.has_begun(tmp_path, "fit")


def test_what_the_process_of_a_fit_takes_is_known_on_this_host_while_it_lives(tmp_path: Path) -> None:
    assert inflight.resident_bytes(tmp_path, "fit") is None
    with worker(tmp_path) as process:
        taken = inflight.resident_bytes(tmp_path, "fit")
        rewrite(tmp_path, host="elsewhere")
        assert inflight.resident_bytes(tmp_path, "fit") is None
        process.kill()
    assert taken is not None and taken > 2**20
    assert inflight.resident_bytes(tmp_path, "fit") is None


def test_a_stop_that_came_after_the_end_is_cleared_for_the_next_try(tmp_path: Path) -> None:
    with Inflight.enter(tmp_path, "fit"):
        pass
    inflight.ask_stop(tmp_path, "fit")
    inflight.clear(tmp_path, "fit")
    with Inflight.enter(tmp_path, "fit") as again:
        assert not again.should_stop()
