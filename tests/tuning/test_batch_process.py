"""A probe in a process that runs out of memory, hangs, dies or is forgotten, and what becomes of it all."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from raytrain.config import load
from raytrain.machine.sensors import Memory
from raytrain.pipeline import prepare
from raytrain.run_config import RunConfig
from raytrain.tuning import batch_process
from raytrain.tuning.batch_process import run_probe
from raytrain.work.probe import Probe

pytestmark = pytest.mark.cluster

PLENTY = Memory(total_bytes=2**40, available_bytes=2**39, swap_used_bytes=0, pressure="normal")
Left = Callable[[], dict[int, str]]


@pytest.fixture
def probe(tiny: list[str], tmp_path: Path, mark: str) -> Probe:
    """A small GRU on two series, and a batch that fits."""
    small = ["--families", "gru", "--params.gru.window", "5", "--params.gru.num_hidden", "8"]
    run = prepare(load(RunConfig, [Path(tiny[1])], [*tiny[2:], *small]))
    return Probe(
        spec=run.plan.fits[0].spec,
        dataset=run.dataset.save(tmp_path / "prepared").absolute(),
        batch_size=16,
        warm_up_steps=1,
        timed_steps=2,
        probe_s=30.0,
        memory_bytes=None,
        machine_bytes=2**33,
    )


def played_by(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a program stand in for the probe's."""
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(program))
    start = subprocess.Popen

    def popen(command: list[str], **options: object) -> object:
        assert command[1:] == ["-m", "raytrain.work.probe"]
        return start([sys.executable, str(script)], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(batch_process.subprocess, "Popen", popen)


def open_pipes() -> set[str]:
    """The pipes of this process, where the system tells; a Ray in it opens and closes other things when it likes."""
    found = set()
    for path in Path("/proc/self/fd").glob("*"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return {name for name in found if name.startswith("pipe:")}


def test_a_batch_is_measured_in_a_process_that_is_gone_afterwards(probe: Probe, ray_left: Left) -> None:
    before = open_pipes()
    one = run_probe(probe, "torch", timeout_s=120)
    assert (one.batch_size, one.status, one.cause) == (16, "ok", "")
    assert one.samples_per_s and one.peak_memory_bytes and one.memory_bytes == 2**33
    assert ray_left() == {}
    assert open_pipes() <= before


def test_a_batch_that_does_not_fit_is_told_in_torchs_own_words(probe: Probe, ray_left: Left) -> None:
    """The window of the test is wide enough for a batch that needs more than all there is."""
    limit = 700 * 2**20
    params = probe.spec.params.replace('"num_hidden":8', '"num_hidden":2048')
    wide = replace(probe, spec=replace(probe.spec, params=params), machine_bytes=limit, hold_to_memory=True)
    one = run_probe(wide, "torch", timeout_s=120)
    assert one.status == "out_of_memory"
    assert "DefaultCPUAllocator: can't allocate memory" in one.cause
    assert one.memory_bytes == limit
    assert ray_left() == {}


def test_an_error_of_another_kind_is_none_of_memory(probe: Probe) -> None:
    one = run_probe(replace(probe, dataset=Path("/nowhere")), "torch", timeout_s=120)
    assert one.status == "failed"
    assert one.cause.startswith("FileNotFoundError: ")


def test_a_process_of_another_engine_refuses(probe: Probe) -> None:
    one = run_probe(probe, "native", timeout_s=120)
    assert one.status == "failed"
    assert "started for native" in one.cause


def test_a_process_that_takes_more_than_there_is_is_killed(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ray_left: Left
) -> None:
    played_by("import time\nheld = b'x' * (300 * 2**20)\ntime.sleep(60)", monkeypatch, tmp_path)
    one = run_probe(replace(probe, machine_bytes=200 * 2**20), "torch", timeout_s=50, look=lambda: PLENTY)
    assert one.status == "out_of_memory"
    assert one.cause.endswith("of the 0.20 GiB that there are")
    assert one.peak_memory_bytes is not None and one.peak_memory_bytes > 200 * 2**20
    assert ray_left() == {}


def test_a_process_that_leaves_nothing_to_others_is_killed(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ray_left: Left
) -> None:
    played_by("import time\ntime.sleep(60)", monkeypatch, tmp_path)
    short = replace(PLENTY, available_bytes=2**35)
    one = run_probe(probe, "torch", timeout_s=50, look=lambda: short)
    assert (one.status, ray_left()) == ("out_of_memory", {})
    assert one.cause.startswith("it left 32.00 GiB free of the machine's 1024.00 GiB")


def test_a_process_that_hangs_is_killed_and_no_case_of_memory(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ray_left: Left
) -> None:
    played_by("import time\ntime.sleep(60)", monkeypatch, tmp_path)
    one = run_probe(probe, "torch", timeout_s=0.5, look=lambda: PLENTY)
    assert (one.status, ray_left()) == ("failed", {})
    assert one.cause == "no answer within 0.5 s; raise batch.timeout_s"


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        (
            "import os, sys\n"
            "sys.stderr.write(\"terminate called after throwing an instance of 'std::bad_alloc'\\n  what():  x\\n\")\n"
            "sys.stderr.flush()\nos.abort()",
            "out_of_memory",
            "std::bad_alloc",
        ),
        (
            "import sys\nsys.stderr.write('(null) Insufficient Memory "
            "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)')\nprint('{}')",
            "out_of_memory",
            "Insufficient Memory",
        ),
        ("import os\nos.abort()", "failed", "its process ended with signal 6"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "failed", "its process ended with signal 9"),
        ("import os\nos._exit(5)", "failed", "its process ended with exit code 5"),
        ("raise SystemExit('not now')", "failed", "its process ended with exit code 1: not now"),
        ("pass", "failed", "its process ended with exit code 0"),
    ],
)
def test_a_death_is_told_by_its_last_words(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, status: str, said: str
) -> None:
    played_by(program, monkeypatch, tmp_path)
    one = run_probe(probe, "torch", timeout_s=50, look=lambda: PLENTY)
    assert one.status == status
    assert said in one.cause


def test_a_kill_by_the_kernel_is_one_of_memory(probe: Probe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Linux counts its kills for want of memory."""
    counts = iter([3, 4])
    monkeypatch.setattr(batch_process, "read_text", lambda path: f"nr_free_pages 7\noom_kill {next(counts)}\n")
    played_by("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", monkeypatch, tmp_path)
    one = run_probe(probe, "torch", timeout_s=50, look=lambda: PLENTY)
    assert (one.status, one.cause) == ("out_of_memory", "the kernel killed it, as memory ran out")


def test_a_probe_ends_with_its_starter(probe: Probe, tmp_path: Path, ray_left: Left) -> None:
    """However the starter dies, and whatever the probe is doing."""
    order = tmp_path / "order.json"
    order.write_text(replace(probe, timed_steps=10_000, probe_s=600.0).to_json())
    starter = textwrap.dedent(
        f"""
        from pathlib import Path
        from raytrain.tuning.batch_process import run_probe
        from raytrain.work.probe import Probe
        run_probe(Probe.from_json(Path({str(order)!r}).read_text()), "torch", timeout_s=600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", starter]) as process:
        while not any("raytrain.work.probe" in line for line in ray_left().values()):
            assert process.poll() is None
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while ray_left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray_left() == {}
