import sys

from raytrain.machine import world
from raytrain.machine.world import World, read_text, run_text


def test_a_command_gives_its_output():
    assert run_text([sys.executable, "-c", "print('warm')"]) == "warm\n"


def test_an_absent_failing_or_hanging_command_gives_none(monkeypatch):
    assert run_text(["no-such-command-anywhere"]) is None
    assert run_text([sys.executable, "-c", "print(1); raise SystemExit(1)"]) is None
    monkeypatch.setattr(world, "COMMAND_TIMEOUT_S", 0.1)
    assert run_text([sys.executable, "-c", "import time; time.sleep(60)"]) is None


def test_a_file_gives_its_text_and_an_absent_one_none(tmp_path):
    (tmp_path / "limit").write_text("max\n")
    assert read_text(str(tmp_path / "limit")) == "max\n"
    assert read_text(str(tmp_path / "none")) is None
    assert read_text(str(tmp_path)) is None


def test_this_machine_can_be_read():
    here = World()
    total, available, swap_used = here.memory()
    assert 0 < available <= total
    assert swap_used >= 0
    assert here.cpus() >= 1
