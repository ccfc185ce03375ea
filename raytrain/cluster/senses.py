"""Heat and memory, read beside the driver: a reading can take a second, and the driver must not wait."""

import threading
from types import TracebackType
from typing import Self

from raytrain.machine.sensors import Heat, HeatSensor, Pressure, memory

READ_EVERY_S = 5.0


class Senses:
    """The newest reading of each sensor, for as long as the `with` lasts."""

    def __init__(self, sensor: HeatSensor) -> None:
        self._sensor = sensor
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="senses", daemon=True)
        self.heat: Heat = sensor.read()
        self.pressure: Pressure = memory().pressure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(READ_EVERY_S):
            self.heat = self._sensor.read()
            self.pressure = memory().pressure
