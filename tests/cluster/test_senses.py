import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from raytrain.cluster import senses as senses_module
from raytrain.cluster.senses import Senses
from raytrain.machine.sensors import Heat, HeatSensor, Memory

GIB = 2**30


def look() -> Memory:
    return Memory(total_bytes=16 * GIB, available_bytes=8 * GIB, swap_used_bytes=0, pressure="normal")


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senses_module, "MEMORY_EVERY_S", 0.01)
    monkeypatch.setattr(senses_module, "HEAT_EVERY_S", 0.03)


def test_what_is_read_is_judged_with_what_was_read_before() -> None:
    degrees = [97.0]
    levels = {97.0: "stop", 90.0: "shrink"}
    sensor = HeatSensor("psutil", lambda: Heat(level=levels[degrees[0]], degrees=degrees[0], source="psutil"))
    memory = [look()]
    with Senses(sensor, lambda: memory[0]) as senses:
        assert (senses.heat.level, senses.strain) == ("stop", "normal")
        degrees[0] = 90.0
        memory[0] = Memory(total_bytes=16 * GIB, available_bytes=8 * GIB, swap_used_bytes=GIB, pressure="normal")
        until(lambda: senses.heat.degrees == 90.0 and senses.strain == "warn")
        assert senses.heat.level == "stop"
    assert "senses" not in {thread.name for thread in threading.enumerate()}


def test_a_slow_sensor_is_read_less_often_than_memory_and_a_file_as_often() -> None:
    reads = {"macmon": 0, "file": 0, "memory": 0}

    def sensor(source: str) -> HeatSensor:
        def read() -> Heat:
            reads[source] += 1
            return Heat(level="ok", source=source)

        return HeatSensor(source, read)

    def count() -> Memory:
        reads["memory"] += 1
        return look()

    with Senses(sensor("macmon"), count):
        until(lambda: reads["macmon"] >= 4)
    assert reads["memory"] > reads["macmon"]
    with Senses(sensor("file"), look):
        until(lambda: reads["file"] >= 4)
