from pathlib import Path

import pytest

from raytrain.errors import ConfigError
from raytrain.machine.detect import detect, overclaims, resolve
from raytrain.machine.profile import MachineProfile

M4 = {
    "machdep.cpu.brand_string": "Apple M4",
    "hw.nperflevels": "2",
    "hw.perflevel0.name": "Performance",
    "hw.perflevel0.physicalcpu": "4",
    "hw.perflevel1.name": "Efficiency",
    "hw.perflevel1.physicalcpu": "6",
    "hw.memsize": "17179869184",
}
M4_PRO = M4 | {
    "machdep.cpu.brand_string": "Apple M4 Pro",
    "hw.perflevel0.physicalcpu": "10",
    "hw.perflevel1.physicalcpu": "4",
    "hw.memsize": "25769803776",
}
M5 = M4 | {
    "machdep.cpu.brand_string": "Apple M5",
    "hw.perflevel0.name": "Super",
    "hw.perflevel1.name": "Performance",
}
H200 = "GPU 0: NVIDIA H200 (UUID: GPU-6a3c)\n"
TWO_A100 = "GPU 0: NVIDIA A100 (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-2)\nGPU 1: NVIDIA A100 (UUID: GPU-3)\n"


@pytest.mark.parametrize(
    ("sysctl", "expected"),
    [
        (M4, ("apple-m4-4p-16gb", 4, 6, 16)),
        (M4_PRO, ("apple-m4-pro-10p-24gb", 10, 4, 24)),
        (M5, ("apple-m5-4p-16gb", 4, 6, 16)),
        (M4 | {"hw.nperflevels": "3", "hw.perflevel2.physicalcpu": "2"}, ("apple-m4-4p-16gb", 4, 8, 16)),
    ],
)
def test_a_mac_is_read_by_level_index(mac, sysctl, expected):
    found = detect(mac(sysctl))
    assert (found.name, found.pcores, found.ecores, found.memory_gb) == expected
    assert found.slot == "mps"
    assert found.thermal_tokens == found.pcores


@pytest.mark.parametrize("missing", sorted(M4_PRO))
def test_one_missing_key_costs_only_its_own_value(mac, missing):
    sysctl = {key: value for key, value in M4_PRO.items() if key != missing}
    found = detect(mac(sysctl))
    expected = {"pcores": 10, "ecores": 4, "memory_gb": 24.0, "slot": "mps"}
    if missing == "hw.perflevel0.physicalcpu":
        expected["pcores"] = 8  # what the operating system counts
    if missing == "hw.perflevel1.physicalcpu":
        expected["ecores"] = 0
    assert found.model_dump(include=set(expected)) == expected


def test_an_intel_mac_and_a_process_under_rosetta_have_no_mps(mac):
    intel = detect(mac({"hw.physicalcpu": "6", "hw.memsize": "17179869184"}, machine="x86_64"))
    assert (intel.pcores, intel.ecores, intel.slot) == (6, 0, "cpu")
    assert detect(mac(M4, machine="x86_64")).slot == "cpu"


def test_linux_without_limits_gives_everything(linux):
    found = detect(linux())
    assert (found.pcores, found.ecores, found.memory_gb, found.slot, found.num_slots) == (16, 0, 64, "cpu", 1)


@pytest.mark.parametrize(
    ("files", "pcores", "memory_gb"),
    [
        ({"/sys/fs/cgroup/cpu.max": "350000 100000\n", "/sys/fs/cgroup/memory.max": "8589934592\n"}, 3, 8),
        ({"/sys/fs/cgroup/cpu.max": "max 100000\n", "/sys/fs/cgroup/memory.max": "max\n"}, 16, 64),
        ({"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1, 64),
        ({"/sys/fs/cgroup/memory.max": str(999 * 1024**3)}, 16, 64),
    ],
)
def test_a_container_is_as_big_as_its_limits(linux, files, pcores, memory_gb):
    found = detect(linux(files))
    assert (found.pcores, found.memory_gb) == (pcores, memory_gb)


def test_the_tightest_limit_of_all_parent_groups_binds(linux):
    files = {
        "/proc/self/cgroup": "0::/user.slice/daily.service\n",
        "/sys/fs/cgroup/user.slice/daily.service/cpu.max": "800000 100000",
        "/sys/fs/cgroup/user.slice/cpu.max": "400000 100000",
        "/sys/fs/cgroup/user.slice/daily.service/memory.max": "17179869184",
    }
    found = detect(linux(files))
    assert (found.pcores, found.memory_gb) == (4, 16)


@pytest.mark.parametrize(
    ("listing", "visible", "devices"),
    [
        (H200, None, 1),
        (TWO_A100, None, 2),
        (TWO_A100, "1", 1),
        (TWO_A100, "0,1,7", 2),
        (TWO_A100, "GPU-1", 1),
        (TWO_A100, "", 0),
        (TWO_A100, "-1", 0),
        ("NVIDIA-SMI has failed\n", None, 0),
    ],
)
def test_cuda_devices_are_those_installed_and_visible(linux, listing, visible, devices):
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    found = detect(linux(environ=environ, nvidia_smi=listing))
    assert found.num_gpus == devices
    assert found.slot == ("cuda" if devices else "cpu")


def test_this_machine_has_cores_and_memory():
    found = detect()
    assert found.pcores >= 1
    assert found.memory_gb > 0.1
    assert overclaims(found, found) == []


def test_a_profile_is_found_by_name_and_by_path(tmp_path: Path):
    path = tmp_path / "small.yaml"
    path.write_text("pcores: 2\nmemory_gb: 8\nslot: cpu\n")
    assert resolve("small", tmp_path) == resolve(str(path), Path("nowhere"))
    assert resolve("small", tmp_path).name == "small"


def test_auto_is_this_machine(mac, tmp_path):
    assert resolve("auto", tmp_path, mac(M4)).pcores == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "pcores: 2\nmemory_gb: 8\nslot: cpu\necors: 4\n",
            "`ecors` is not a key of a machine profile.*did you mean `ecores`",
        ),
        ("pcores: 0\nmemory_gb: 8\nslot: cpu\n", "`pcores`.*greater than or equal to 1, got 0 in .*odd.yaml"),
        ("memory_gb: 8\nslot: cpu\n", "`pcores` must be given; add it to .*odd.yaml"),
        ("pcores: 2\nmemory_gb: 8\nslot: tpu\n", "`slot`.*got 'tpu'"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_key_and_file(tmp_path: Path, text, message):
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve("odd", tmp_path)


def test_an_unknown_profile_names_the_nearest(tmp_path: Path):
    (tmp_path / "m4pro-24gb.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"did you mean `m4pro-24gb`\? Known: auto, m4pro-24gb\."):
        resolve("m4pro-24g", tmp_path)


def test_overclaims_give_the_numbers_and_leave_the_profile_usable():
    small = MachineProfile(name="small", pcores=2, memory_gb=23.5, slot="cpu")
    large = MachineProfile(name="large", pcores=16, memory_gb=64, slot="cuda", num_slots=2)
    cores, memory, devices = overclaims(large, small)
    assert "16 performance cores, this machine has 2" in cores
    assert "64 GB of memory, this machine has 23.5 GB" in memory
    assert "2 CUDA devices, this machine has 0" in devices
    assert overclaims(small, large) == []


def test_memory_a_few_per_cent_short_is_no_overclaim():
    actual = MachineProfile(name="actual", pcores=4, memory_gb=15.5, slot="cpu")
    assert overclaims(MachineProfile(name="sold", pcores=4, memory_gb=16, slot="mps"), actual) == []
