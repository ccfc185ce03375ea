"""Which machine this is, and which one a person asked for."""

import re
from itertools import takewhile
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raytrain.config import read_yaml
from raytrain.errors import ConfigError, did_you_mean
from raytrain.machine.cgroup import cpu_limit, memory_limit
from raytrain.machine.profile import GIB, MachineProfile
from raytrain.machine.world import World

MEMORY_SLACK = 1.05
"""A machine sold with 16 GB shows the system a few per cent less."""


def detect(world: World | None = None) -> MachineProfile:
    """The machine this process runs on, within the limits of its container."""
    world = world or World()
    return _mac(world) if world.system == "Darwin" else _linux(world)


def resolve(name: str, folder: Path, world: World | None = None) -> MachineProfile:
    """The profile a person named: `auto` is this machine, `x.yaml` a file, all else `<folder>/<name>.yaml`.

    Raises:
        ConfigError: no such profile, or its file is wrong.
    """
    if name == "auto":
        return detect(world)
    if name.endswith(".yaml"):
        return _load(Path(name))
    known = [path.stem for path in folder.glob("*.yaml")]
    if name not in known:
        raise ConfigError(f"`{name}` is no machine profile in {folder}; {did_you_mean(name, [*known, 'auto'])}")
    return _load(folder / f"{name}.yaml")


def overclaims(profile: MachineProfile, actual: MachineProfile) -> list[str]:
    """Warnings, with the numbers, where a profile promises more than the machine has; empty when it fits."""
    warnings = []
    if profile.pcores > actual.pcores:
        warnings.append(
            f"profile {profile.name} assumes {profile.pcores} performance cores, this machine has {actual.pcores}: "
            "fits will share cores and their timings say little"
        )
    if profile.memory_gb > MEMORY_SLACK * actual.memory_gb:
        warnings.append(
            f"profile {profile.name} assumes {profile.memory_gb:g} GB of memory, "
            f"this machine has {actual.memory_gb:.1f} GB: fits may swap or be killed"
        )
    if profile.slot == "cuda" and (actual.slot != "cuda" or profile.num_slots > actual.num_slots):
        warnings.append(
            f"profile {profile.name} assumes {profile.num_slots} CUDA devices, this machine has {actual.num_gpus}: "
            "fits in the slot will fail"
        )
    return warnings


def _load(path: Path) -> MachineProfile:
    try:
        return MachineProfile.model_validate({"name": path.stem, **read_yaml(path)})
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem, path) for problem in error.errors())) from None


def _explain(problem: ErrorDetails, path: Path) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"`{key}` is not a key of a machine profile, got it in {path}; " + did_you_mean(
            key, MachineProfile.model_fields
        )
    if problem["type"] == "missing":
        return f"`{key}` must be given; add it to {path}"
    return f"`{key}`: {problem['msg'].removeprefix('Input ')}, got {problem['input']!r} in {path}"


def _mac(world: World) -> MachineProfile:
    brand = world.sysctl("machdep.cpu.brand_string") or "mac"
    levels = _levels(world)
    pcores = levels[0] or world.sysctl_number("hw.physicalcpu") or world.cpus()
    memory_gb = _gib(world.sysctl_number("hw.memsize") or world.memory()[0])
    return MachineProfile(
        name=_slug(f"{brand} {pcores}p {memory_gb:.0f}gb"),
        pcores=pcores,
        ecores=sum(levels[1:]),
        memory_gb=memory_gb,
        # A process under Rosetta is no arm64 process, and has no MPS.
        slot="mps" if world.machine == "arm64" else "cpu",
    )


def _levels(world: World) -> list[int]:
    """Cores of each performance level, the fastest first; 0 where the key is missing (Intel).

    By index, never by name: what was called Performance on an M4 is called Super on an M5.
    """
    num_levels = world.sysctl_number("hw.nperflevels") or 2
    return [world.sysctl_number(f"hw.perflevel{level}.physicalcpu") or 0 for level in range(num_levels)]


def _linux(world: World) -> MachineProfile:
    installed = world.memory()[0]
    cores = min(world.cpus(), cpu_limit(world) or world.cpus())
    memory_gb = _gib(min(installed, memory_limit(world) or installed))
    num_gpus = _cuda_devices(world)
    return MachineProfile(
        name=f"{world.system.lower()}-{cores}c-{memory_gb:.0f}gb" + (f"-{num_gpus}gpu" if num_gpus else ""),
        pcores=cores,
        memory_gb=memory_gb,
        slot="cuda" if num_gpus else "cpu",
        num_slots=num_gpus or 1,
    )


def _cuda_devices(world: World) -> int:
    """CUDA devices that this process may see, counted without loading a library."""
    if world.which("nvidia-smi") is None:
        return 0
    installed = len(re.findall(r"^GPU \d+:", world.run(["nvidia-smi", "-L"]) or "", re.MULTILINE))
    visible = world.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return installed
    # CUDA reads the list up to its first invalid entry; people write -1 to hide every device.
    shown = list(takewhile(lambda device: device.strip() and device.strip() != "-1", visible.split(",")))
    return min(installed, len(shown))


def _gib(num_bytes: int) -> float:
    return round(num_bytes / GIB, 2)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
