"""What a stretch of work takes of the machine."""

import resource
import threading
import time

import psutil

from raytrain.machine.sensors import SleepWatch


class Meter:
    """Wall clock, CPU time of all threads and peak resident memory of what runs inside the `with`."""

    wall_s = 0.0
    cpu_s = 0.0
    peak_memory_bytes = 0
    slept = False
    """Whether the machine slept meanwhile: the clocks stood still, and what was measured teaches nothing."""

    def __init__(self, sleep: SleepWatch | None = None) -> None:
        self._sleep = sleep or SleepWatch()

    def __enter__(self) -> "Meter":
        self._process = psutil.Process()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._wall
        self.cpu_s = _cpu_seconds() - self._cpu
        self.slept = self._sleep.slept_s() > 0
        self._done.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._look()

    def _look(self) -> None:
        self.peak_memory_bytes = max(self.peak_memory_bytes, self._process.memory_info().rss)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
