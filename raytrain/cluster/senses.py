"""Heat and memory, read beside the driver: a reading can take a second, and the driver must not wait."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from raytrain.machine.sensors import Heat, HeatSensor, Memory, MemoryTrend, Strain, Thermostat, memory

MEMORY_EVERY_S = 1.0
HEAT_EVERY_S = 5.0
"""Heat changes slowly, and macmon takes a second for a reading; a file costs nothing and is read with the memory."""


class Senses:
    """What each sensor says now, judged with what it said before, for as long as the `with` lasts."""

    def __init__(self, sensor: HeatSensor, look: Callable[[], Memory] = memory) -> None:
        self._sensor, self._look = sensor, look
        self._thermostat, self._trend = Thermostat(), MemoryTrend()
        self._heat_every_s = MEMORY_EVERY_S if sensor.source == "file" else HEAT_EVERY_S
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="senses", daemon=True)
        self.heat: Heat
        self.strain: Strain
        self._read_heat()
        self._read_memory()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        next_heat = time.monotonic() + self._heat_every_s
        while not self._done.wait(MEMORY_EVERY_S):
            self._read_memory()
            if time.monotonic() >= next_heat:
                self._read_heat()
                next_heat = time.monotonic() + self._heat_every_s

    def _read_heat(self) -> None:
        self.heat = self._thermostat.judge(self._sensor.read())

    def _read_memory(self) -> None:
        self.strain = self._trend.judge(self._look(), time.monotonic())
