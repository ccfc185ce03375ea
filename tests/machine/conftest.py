from collections.abc import Callable, Mapping, Sequence

import pytest

from raytrain.machine.world import SYSCTL, World

GIB = 1024**3


@pytest.fixture
def mac() -> Callable[..., World]:
    """A Mac made of its sysctl keys and of what its other commands print."""

    def make(sysctl: Mapping[str, str], machine: str = "arm64", **commands: str) -> World:
        def run(command: Sequence[str]) -> str | None:
            if command[0] == SYSCTL:
                (flag, key) = command[1:]
                assert flag == "-n"
                return f"{sysctl[key]}\n" if key in sysctl else None
            return commands.get(command[0].rsplit("/", 1)[-1])

        return World(
            system="Darwin",
            machine=machine,
            environ={},
            run=run,
            read=lambda path: None,
            which=lambda name: f"/opt/homebrew/bin/{name}" if name in commands else None,
            cpus=lambda: 8,
            memory=lambda: (24 * GIB, 9 * GIB, GIB),
            temperatures=dict,
        )

    return make


@pytest.fixture
def linux() -> Callable[..., World]:
    """A Linux machine of 16 CPUs and 64 GiB made of its files and of what its commands print."""

    def make(
        files: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        temperatures: Mapping[str, list[float]] | None = None,
        available: int = 32 * GIB,
        **commands: str,
    ) -> World:
        return World(
            system="Linux",
            machine="x86_64",
            environ=environ or {},
            run=lambda command: commands.get(command[0].replace("-", "_")),
            read=(files or {}).get,
            which=lambda name: f"/usr/bin/{name}" if name.replace("-", "_") in commands else None,
            cpus=lambda: 16,
            memory=lambda: (64 * GIB, available, 0),
            temperatures=lambda: dict(temperatures or {}),
        )

    return make
