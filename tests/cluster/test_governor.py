"""Processes that idle, played by shells that call themselves as Ray's workers do."""

import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest

from raytrain.cluster.governor import Workers

Play = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def play() -> Iterator[Play]:
    """Starts a process with a title; it waits for its standard input."""
    started: list[subprocess.Popen[bytes]] = []

    def start(title: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([title], executable="/bin/sh", stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_only_those_that_worked_for_us_and_have_nothing_to_do_are_counted_and_ended(play: Play) -> None:
    workers = Workers()
    idle, busy, stranger = play("ray::IDLE"), play("ray::lightgbm return_1d 2018 s42"), play("ray::IDLE")
    for process in (idle, busy):
        workers.remember(f"here:{process.pid}")
    assert workers.idle_bytes() > 0
    workers.end_idle()
    assert not psutil.pid_exists(idle.pid)
    assert (busy.poll(), stranger.poll()) == (None, None)
    assert workers.idle_bytes() == 0


def test_a_process_that_is_gone_takes_nothing(play: Play) -> None:
    workers, gone = Workers(), play("ray::IDLE")
    workers.remember(f"here:{gone.pid}")
    gone.kill()
    gone.wait()
    assert workers.idle_bytes() == 0
    workers.end_idle()
    workers.remember(f"here:{gone.pid}")
    assert workers.idle_bytes() == 0
