"""Heat, memory and sleep of the machine. What cannot be read is `unknown`, never `ok`."""

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from raytrain.machine.cgroup import memory_limit, memory_room
from raytrain.machine.world import World, number

Level = Literal["ok", "watch", "shrink", "stop", "unknown"]
Pressure = Literal["normal", "warn", "critical", "unknown"]
Strain = Literal["normal", "warn", "rising", "critical", "unknown"]

HEAT_FILE = "RAYTRAIN_HEAT_FILE"
"""Environment variable naming a file that holds a temperature in C: a sensor for demonstrations."""

THERMAL_PRESSURE_KEY = "com.apple.system.thermalpressurelevel"
WATCH_C, SHRINK_C, STOP_C = 70.0, 85.0, 95.0
COOL_C = 80.0
"""Below it a machine that had to shrink works in full again; with one threshold for both ways it would flap."""
MAX_CREDIBLE_C = 150.0
CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal")
"""Linux drivers that measure the processor; disks and network cards run hotter and mean nothing here."""
WARN_STALLED_PERCENT, CRITICAL_STALLED_PERCENT = 10.0, 20.0
"""Share of the last ten seconds in which some task, or every task, waited for memory (Linux PSI). systemd-oomd, which
kills, waits for 60 %; a governor must act earlier."""
WARN_AVAILABLE, CRITICAL_AVAILABLE = 0.10, 0.04
"""Share of the memory still available."""


@dataclass(frozen=True, kw_only=True)
class Heat:
    """One look at the heat of the machine."""

    level: Level
    """What it asks for: nothing, attention, fewer busy threads, no fits at all."""
    degrees: float | None = None
    """Celsius; None when the sensor gives none."""
    pressure: int | None = None
    """macOS thermal pressure: 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping."""
    source: str

    def __str__(self) -> str:
        if self.degrees is not None:
            return f"{self.degrees:.0f} C ({self.source})"
        if self.pressure is not None:
            return f"pressure {self.pressure} ({self.source})"
        return "no sensor" if self.source == "none" else f"unknown ({self.source})"


@dataclass(frozen=True)
class HeatSensor:
    """A way to read the heat, chosen once by `find_heat_sensor`."""

    source: str
    """`file`, `macmon`, `notifyutil`, `psutil` or `none`."""
    _look: Callable[[], Heat]

    def read(self) -> Heat:
        """The heat now. macmon measures for a second: do not call it from a loop that must not wait."""
        return self._look()


def find_heat_sensor(world: World | None = None) -> HeatSensor:
    """The first sensor that answers, in the order of trust; one that knows nothing when none does.

    The file of `RAYTRAIN_HEAT_FILE` goes before all, then macmon (degrees), then notifyutil on macOS (pressure) or
    psutil on Linux (degrees).
    """
    world = world or World()
    if world.environ.get(HEAT_FILE):
        return HeatSensor("file", lambda: _file_heat(world))
    candidates = [HeatSensor("macmon", lambda: _macmon_heat(world))] if world.which("macmon") else []
    if world.system == "Darwin":
        candidates.append(HeatSensor("notifyutil", lambda: _notifyutil_heat(world)))
    else:
        candidates.append(HeatSensor("psutil", lambda: _psutil_heat(world)))
    nothing = HeatSensor("none", lambda: Heat(level="unknown", source="none"))
    return next((sensor for sensor in candidates if sensor.read().level != "unknown"), nothing)


def heat_of_degrees(degrees: float | None, source: str) -> Heat:
    """Judge a temperature; not in (0, 150] C it is no reading (0.0 is how macmon says that it has no sensor)."""
    if degrees is None or not 0 < degrees <= MAX_CREDIBLE_C:
        return Heat(level="unknown", source=source)
    if degrees >= STOP_C:
        level: Level = "stop"
    elif degrees >= SHRINK_C:
        level = "shrink"
    else:
        level = "watch" if degrees >= WATCH_C else "ok"
    return Heat(level=level, degrees=degrees, source=source)


class Thermostat:
    """Hot is left later than it is entered: a stop below 85 C, a shrink below 80 C.

    Pressure levels are left below the level at which they were entered. A sensor that falls silent while it is hot
    leaves half of the machine: it is not known to be cool, and a run must not wait for ever.
    """

    def __init__(self) -> None:
        self._level: Level = "unknown"

    def judge(self, heat: Heat) -> Heat:
        """The heat with the level that it asks for now."""
        before, level = self._level, heat.level
        if before in ("shrink", "stop") and level != "stop":
            warm = heat.degrees is not None and heat.degrees >= COOL_C
            if before == "stop" and level == "shrink":
                level = "stop"
            elif warm or level == "unknown":
                level = "shrink"
        self._level = level
        return replace(heat, level=level)


def _file_heat(world: World) -> Heat:
    text = world.read(world.environ[HEAT_FILE])
    return heat_of_degrees(_float(text), "file")


def _macmon_heat(world: World) -> Heat:
    lines = (world.run(["macmon", "pipe", "-s", "1"]) or "").strip().splitlines()
    try:
        temperatures = json.loads(lines[-1])["temp"]
        degrees = [float(temperatures[key]) for key in ("cpu_temp_avg", "gpu_temp_avg") if key in temperatures]
    except (IndexError, KeyError, TypeError, ValueError):
        return Heat(level="unknown", source="macmon")
    return heat_of_degrees(max(degrees, default=None), "macmon")


def _notifyutil_heat(world: World) -> Heat:
    """The pressure level. The exact key must come back: an unknown key also prints a 0."""
    words = (world.run(["/usr/bin/notifyutil", "-g", THERMAL_PRESSURE_KEY]) or "").split()
    pressure = number(words[1]) if len(words) == 2 and words[0] == THERMAL_PRESSURE_KEY else None
    if pressure is None:
        return Heat(level="unknown", source="notifyutil")
    levels: tuple[Level, ...] = ("ok", "watch", "shrink", "stop")
    return Heat(level=levels[min(pressure, 3)], pressure=pressure, source="notifyutil")


def _psutil_heat(world: World) -> Heat:
    chips = world.temperatures()
    return heat_of_degrees(
        max((degrees for chip in CPU_CHIPS for degrees in chips.get(chip, [])), default=None), "psutil"
    )


def _float(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One look at the memory that this process and its children may use."""

    total_bytes: int
    available_bytes: int
    """What can be taken without swapping."""
    swap_used_bytes: int
    pressure: Pressure


def memory(world: World | None = None) -> Memory:
    """The memory now, within the limits of the container."""
    world = world or World()
    total, available, swap_used = world.memory()
    if world.system == "Darwin":
        levels: dict[int | None, Pressure] = {1: "normal", 2: "warn", 4: "critical"}
        level = world.sysctl_number("kern.memorystatus_vm_pressure_level")
        pressure = levels.get(level, "unknown")
    else:
        total = min(total, memory_limit(world) or total)
        room = memory_room(world)
        available = available if room is None else min(available, room)
        pressure = _linux_pressure(world, available / total)
    return Memory(total_bytes=total, available_bytes=available, swap_used_bytes=swap_used, pressure=pressure)


def _linux_pressure(world: World, available: float) -> Pressure:
    stalled = _stalled_percent(world.read("/proc/pressure/memory") or "")
    if available < CRITICAL_AVAILABLE or stalled.get("full", 0.0) >= CRITICAL_STALLED_PERCENT:
        return "critical"
    if available < WARN_AVAILABLE or stalled.get("some", 0.0) >= WARN_STALLED_PERCENT:
        return "warn"
    return "normal"


def _stalled_percent(text: str) -> dict[str, float]:
    """`some avg10=1.50 avg60=...` -> {"some": 1.5}; empty where the kernel keeps no account."""
    words = [line.split() for line in text.splitlines()]
    return {line[0]: float(line[1].removeprefix("avg10=")) for line in words if len(line) > 1}


class MemoryTrend:
    """Whether memory gets shorter.

    macOS compresses and swaps long before it warns, so swap that grows is a warning by itself; and a warning under
    which swap still grows, or what is available still shrinks, is `rising`.
    """

    WINDOW_S = 10.0
    GROWTH = 0.01
    """Share of the memory by which something must change within the window."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Memory]] = deque()

    def judge(self, seen: Memory, at: float) -> Strain:
        """How short memory is, at a time in seconds of a clock that only goes forward."""
        self._seen.append((at, seen))
        while at - self._seen[0][0] > self.WINDOW_S:
            self._seen.popleft()
        change = self.GROWTH * seen.total_bytes
        swaps = seen.swap_used_bytes - min(one.swap_used_bytes for _, one in self._seen) >= change
        shrinks = max(one.available_bytes for _, one in self._seen) - seen.available_bytes >= change
        if seen.pressure in ("normal", "unknown"):
            return "warn" if swaps else seen.pressure
        return "rising" if seen.pressure == "warn" and (swaps or shrinks) else seen.pressure


class SleepWatch:
    """Notices that the machine slept: the wall clock went on, the monotonic clock did not."""

    TOLERANCE_S = 5.0
    """Smaller differences are the clock being set right."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset = wall() - monotonic()

    def slept_s(self) -> float:
        """Seconds slept since the last look, 0.0 for none; timings across a sleep are void.

        A wall clock that is moved ahead by hand reads as a sleep; one moved back does not.
        """
        before, self._offset = self._offset, self._wall() - self._monotonic()
        jump = self._offset - before
        return jump if jump > self.TOLERANCE_S else 0.0
