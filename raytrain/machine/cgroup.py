"""The limits that a Linux container or service puts on a process (cgroup v2)."""

from pathlib import PurePosixPath

from raytrain.machine.world import World, number

ROOT = PurePosixPath("/sys/fs/cgroup")


def cpu_limit(world: World) -> int | None:
    """Whole cores that the tightest `cpu.max` grants, at least 1; None when nothing limits them."""
    quotas = [text.split() for text in _read_up(world, "cpu.max")]
    cores = [int(quota[0]) / int(quota[1]) for quota in quotas if len(quota) == 2 and quota[0] != "max"]
    return max(1, int(min(cores))) if cores else None


def memory_limit(world: World) -> int | None:
    """The tightest `memory.max`, in bytes; None when nothing limits it."""
    limits = [number(text) for text in _read_up(world, "memory.max")]
    return min((limit for limit in limits if limit is not None), default=None)


def memory_room(world: World) -> int | None:
    """Bytes left under the tightest limit; file pages that the kernel can drop count as room. None: no limit."""
    rooms = [_room(world, folder) for folder in _folders(world)]
    return min((room for room in rooms if room is not None), default=None)


def _room(world: World, folder: PurePosixPath) -> int | None:
    limit = number(world.read(str(folder / "memory.max")))
    used = number(world.read(str(folder / "memory.current")))
    if limit is None or used is None:
        return None
    stat = dict(line.split(maxsplit=1) for line in (world.read(str(folder / "memory.stat")) or "").splitlines())
    return max(0, limit - used + (number(stat.get("inactive_file")) or 0))


def _read_up(world: World, name: str) -> list[str]:
    texts = [world.read(str(folder / name)) for folder in _folders(world)]
    return [text for text in texts if text is not None]


def _folders(world: World) -> list[PurePosixPath]:
    """The process's own cgroup and all above it: each one's limit binds."""
    lines = (world.read("/proc/self/cgroup") or "").splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    path = PurePosixPath(own)
    return [ROOT / folder for folder in (path, *path.parents)]
