import json
from dataclasses import replace
from pathlib import Path

import pytest

from raytrain.machine.sensors import (
    HEAT_FILE,
    Heat,
    Memory,
    MemoryTrend,
    SleepWatch,
    Thermostat,
    find_heat_sensor,
    heat_of_degrees,
    memory,
)
from raytrain.machine.world import World, read_text

GIB = 1024**3
KEY = "com.apple.system.thermalpressurelevel"


def macmon_line(cpu: float, gpu: float) -> str:
    return json.dumps({"temp": {"cpu_temp_avg": cpu, "gpu_temp_avg": gpu}, "memory": {"ram_total": 25769803776}}) + "\n"


@pytest.mark.parametrize(
    ("degrees", "level"),
    [
        (None, "unknown"),
        (float("nan"), "unknown"),
        (-4.0, "unknown"),
        (0.0, "unknown"),
        (0.1, "ok"),
        (69.9, "ok"),
        (70.0, "watch"),
        (84.9, "watch"),
        (85.0, "shrink"),
        (94.9, "shrink"),
        (95.0, "stop"),
        (150.0, "stop"),
        (150.1, "unknown"),
    ],
)
def test_degrees_are_judged_at_the_thresholds(degrees, level):
    heat = heat_of_degrees(degrees, "psutil")
    assert heat.level == level
    assert (heat.degrees is None) == (level == "unknown")


@pytest.mark.parametrize(
    ("heat", "text"),
    [
        (Heat(level="ok", degrees=61.4, source="macmon"), "61 C (macmon)"),
        (Heat(level="ok", pressure=0, source="notifyutil"), "pressure 0 (notifyutil)"),
        (Heat(level="unknown", source="none"), "no sensor"),
        (Heat(level="unknown", source="macmon"), "unknown (macmon)"),
    ],
)
def test_heat_reads_as_a_person_says_it(heat, text):
    assert str(heat) == text


def test_macmon_is_preferred_and_its_hotter_part_counts(mac):
    heat = find_heat_sensor(mac({}, macmon=macmon_line(61.5, 72.25), notifyutil=f"{KEY} 0\n")).read()
    assert heat == Heat(level="watch", degrees=72.25, source="macmon")


def test_macmon_with_other_keys_and_several_lines_still_reads(mac):
    text = "{}\n" + json.dumps({"temp": {"cpu_temp_avg": 86.0}, "pcpu_usage": [1974, 0.015], "fans": []})
    assert find_heat_sensor(mac({}, macmon=text)).read() == Heat(level="shrink", degrees=86.0, source="macmon")


@pytest.mark.parametrize(
    "line", [macmon_line(0.0, 0.0), "", "not json", "[]", '{"temp": null}', '{"temp": {"cpu_temp_avg": "x"}}']
)
def test_a_macmon_without_a_reading_leaves_the_word_to_notifyutil(mac, line):
    sensor = find_heat_sensor(mac({}, macmon=line, notifyutil=f"{KEY} 2\n"))
    assert sensor.read() == Heat(level="shrink", pressure=2, source="notifyutil")


@pytest.mark.parametrize(("pressure", "level"), [(0, "ok"), (1, "watch"), (2, "shrink"), (3, "stop"), (4, "stop")])
def test_pressure_levels(mac, pressure, level):
    assert find_heat_sensor(mac({}, notifyutil=f"{KEY} {pressure}\n")).read().level == level


@pytest.mark.parametrize("text", ["", "com.apple.system.thermalpresure 0\n", f"{KEY}\n", f"{KEY} failed\n"])
def test_a_notifyutil_that_does_not_echo_the_key_is_no_sensor(mac, text):
    assert find_heat_sensor(mac({}, notifyutil=text)).read() == Heat(level="unknown", source="none")


def test_a_sensor_that_falls_silent_is_unknown_and_never_ok(mac):
    lines = [f"{KEY} 0\n", f"{KEY} 0\n", None]
    world = replace(mac({}), run=lambda command: lines.pop(0))
    sensor = find_heat_sensor(world)
    assert sensor.read().level == "ok"
    assert sensor.read() == Heat(level="unknown", source="notifyutil")


def test_linux_takes_the_hottest_core_and_no_disk(linux):
    temperatures = {"coretemp": [61.0, 88.0], "nvme": [99.0]}
    assert find_heat_sensor(linux(temperatures=temperatures)).read() == Heat(
        level="shrink", degrees=88.0, source="psutil"
    )


@pytest.mark.parametrize("temperatures", [{}, {"nvme": [40.0]}, {"coretemp": []}, {"coretemp": [0.0]}])
def test_linux_without_a_processor_sensor_says_so(linux, temperatures):
    assert str(find_heat_sensor(linux(temperatures=temperatures)).read()) == "no sensor"


def test_the_file_plays_any_curve(tmp_path: Path, mac):
    path = tmp_path / "heat"
    world = replace(mac({}, macmon=macmon_line(50, 50)), environ={HEAT_FILE: str(path)}, read=read_text)
    sensor = find_heat_sensor(world)
    levels = []
    for content in ("60\n", "97.5", "", "hot", "0"):
        path.write_text(content)
        levels.append(sensor.read().level)
    path.unlink()
    assert [*levels, sensor.read().level] == ["ok", "stop", "unknown", "unknown", "unknown", "unknown"]
    assert sensor.source == "file"


@pytest.mark.parametrize(("level", "pressure"), [("1", "normal"), ("2", "warn"), ("4", "critical"), ("3", "unknown")])
def test_a_mac_tells_its_memory_pressure(mac, level, pressure):
    found = memory(mac({"kern.memorystatus_vm_pressure_level": level}))
    assert found.pressure == pressure
    assert (found.total_bytes, found.available_bytes, found.swap_used_bytes) == (24 * GIB, 9 * GIB, GIB)


def test_a_mac_without_the_key_is_unknown(mac):
    assert memory(mac({})).pressure == "unknown"


@pytest.mark.parametrize(
    ("some", "full", "available", "pressure"),
    [
        (0.0, 0.0, 32 * GIB, "normal"),
        (9.9, 9.9, 32 * GIB, "normal"),
        (10.0, 0.0, 32 * GIB, "warn"),
        (40.0, 20.0, 32 * GIB, "critical"),
        (0.0, 0.0, 6 * GIB, "warn"),
        (0.0, 0.0, 2 * GIB, "critical"),
    ],
)
def test_linux_pressure_comes_from_stalls_and_from_what_is_left(linux, some, full, available, pressure):
    stalls = (
        f"some avg10={some:.2f} avg60=0.00 avg300=0.00 total=0\nfull avg10={full:.2f} avg60=0.00 avg300=0.00 total=0\n"
    )
    assert memory(linux({"/proc/pressure/memory": stalls}, available=available)).pressure == pressure


def test_a_kernel_without_stall_accounts_is_judged_by_what_is_left(linux):
    assert memory(linux(available=30 * GIB)).pressure == "normal"
    assert memory(linux(available=1 * GIB)).pressure == "critical"


def test_a_container_has_the_memory_of_its_limit(linux):
    files = {
        "/sys/fs/cgroup/memory.max": str(8 * GIB),
        "/sys/fs/cgroup/memory.current": str(6 * GIB),
        "/sys/fs/cgroup/memory.stat": f"anon {4 * GIB}\ninactive_file {1 * GIB}\n",
    }
    found = memory(linux(files))
    assert (found.total_bytes, found.available_bytes, found.pressure) == (8 * GIB, 3 * GIB, "normal")


def test_this_machine_has_memory():
    found = memory(World())
    assert 0 < found.available_bytes <= found.total_bytes


class Clocks:
    def __init__(self) -> None:
        self.wall_s, self.monotonic_s = 1_000_000.0, 50.0

    def run(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds

    def watch(self) -> SleepWatch:
        return SleepWatch(wall=lambda: self.wall_s, monotonic=lambda: self.monotonic_s)


def test_a_sleep_is_noticed_once_with_its_length():
    clocks = Clocks()
    watch = clocks.watch()
    clocks.run(3600)
    assert watch.slept_s() == 0
    clocks.wall_s += 1800
    clocks.run(60)
    assert watch.slept_s() == pytest.approx(1800)
    assert watch.slept_s() == 0


@pytest.mark.parametrize("step", [-3600.0, -1.0, 2.0])
def test_setting_the_clock_right_is_no_sleep(step):
    clocks = Clocks()
    watch = clocks.watch()
    clocks.wall_s += step
    assert watch.slept_s() == 0


def test_the_real_clocks_agree_while_awake():
    assert SleepWatch().slept_s() == 0


@pytest.mark.parametrize(
    ("degrees", "levels"),
    [
        ((60, 86, 84, 80, 79.9), ("ok", "shrink", "shrink", "shrink", "watch")),
        ((96, 90, 85, 84.9, 79), ("stop", "stop", "stop", "shrink", "watch")),
        ((96, 60), ("stop", "ok")),
        ((80, 84, 70), ("watch", "watch", "watch")),
        ((96, None, None, 75), ("stop", "shrink", "shrink", "watch")),
        ((86, None, 60, None), ("shrink", "shrink", "ok", "unknown")),
    ],
)
def test_hot_is_left_later_than_it_is_entered(degrees, levels):
    thermostat = Thermostat()
    heats = [thermostat.judge(heat_of_degrees(one, "macmon")) for one in degrees]
    assert tuple(heat.level for heat in heats) == levels
    assert heats[0].degrees == degrees[0]


def test_pressure_levels_are_left_below_the_level_at_which_they_were_entered():
    def heat(pressure):
        levels = ("ok", "watch", "shrink", "stop")
        return Heat(level=levels[pressure], pressure=pressure, source="notifyutil")

    thermostat = Thermostat()
    assert [thermostat.judge(heat(pressure)).level for pressure in (3, 2, 1, 2, 1, 0)] == [
        "stop",
        "stop",
        "watch",
        "shrink",
        "watch",
        "ok",
    ]


def seen(pressure, available=8.0, swap=0.0):
    return Memory(
        total_bytes=16 * GIB,
        available_bytes=int(available * GIB),
        swap_used_bytes=int(swap * GIB),
        pressure=pressure,
    )


@pytest.mark.parametrize(
    ("looks", "strain"),
    [
        ([seen("normal"), seen("normal", available=2)], "normal"),
        ([seen("normal"), seen("normal", swap=0.1)], "normal"),
        ([seen("normal"), seen("normal", swap=0.2)], "warn"),
        ([seen("unknown"), seen("unknown")], "unknown"),
        ([seen("unknown"), seen("unknown", swap=1)], "warn"),
        ([seen("warn"), seen("warn")], "warn"),
        ([seen("warn", available=1.5), seen("warn", available=1.0)], "rising"),
        ([seen("warn", available=1.0), seen("warn", available=1.5)], "warn"),
        ([seen("warn", swap=1), seen("warn", swap=1.2)], "rising"),
        ([seen("warn", swap=2), seen("warn", swap=1)], "warn"),
        ([seen("normal"), seen("critical", swap=1)], "critical"),
    ],
)
def test_memory_that_gets_shorter_is_worse_than_memory_that_is_short(looks, strain):
    trend = MemoryTrend()
    assert [trend.judge(look, at) for at, look in enumerate(looks)][-1] == strain


def test_growth_is_forgotten_after_a_while():
    trend = MemoryTrend()
    strains = [trend.judge(seen("warn", swap=swap), at) for at, swap in ((0, 1), (5, 2), (10, 2), (15.1, 2), (99, 2))]
    assert strains == ["warn", "rising", "rising", "warn", "warn"]
