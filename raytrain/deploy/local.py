"""The service on this machine, started as a process of its own."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from raytrain.config import Section
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Runtime
from raytrain.deploy.remote import process_env
from raytrain.deploy.smoke import DeployFailed, Smoke, ask
from raytrain.deploy.steps import Step

_STOP_S = 20.0


class LocalConfig(Section):
    """The service on loopback."""

    port: int = Field(8080, ge=0, le=65535)
    """Port of 127.0.0.1; 0 takes a free one."""
    start_s: float = Field(180.0, gt=0)
    """Seconds until the model must be loaded."""


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    process: subprocess.Popen[bytes]


def serve_command(bundle: Path | str, runtime: Runtime, host: str, port: int | None) -> tuple[str, ...]:
    """The command that serves; without a port it asks its environment."""
    told = ("-m", "raytrain.jobs.serve", "--bundle", str(bundle), "--serve.runtime", runtime, "--serve.host", host)
    return told if port is None else (*told, "--serve.port", str(port))


def local_steps(bundle: Bundle, runtime: Runtime, config: LocalConfig) -> list[Step]:
    """What `run_local` does."""
    command = (sys.executable, *serve_command(bundle.folder, runtime, "127.0.0.1", config.port))
    return [
        Step("serve the bundle on loopback until you stop it", command),
        Step("compare a forecast with the bundle's own", call=f"POST http://127.0.0.1:{config.port}/predict"),
    ]


@contextmanager
def run_local(bundle: Bundle, runtime: Runtime, config: LocalConfig) -> Iterator[Running]:
    """A service that has loaded the bundle; it ends with the block."""
    command = [sys.executable, *serve_command(bundle.folder, runtime, "127.0.0.1", config.port)]
    with started(command, os.environ | process_env(bundle), config.start_s) as running:
        yield running


@contextmanager
def started(
    command: Sequence[str], env: Mapping[str, str], start_s: float, cwd: Path | None = None
) -> Iterator[Running]:
    """Any command that serves and says where, until the block ends.

    Raises:
        DeployFailed: it does not say so in time.
    """
    process = subprocess.Popen(list(command), env=dict(env), cwd=cwd, stdout=subprocess.PIPE)
    try:
        yield Running(_url(process, start_s), process)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _url(process: subprocess.Popen[bytes], start_s: float) -> str:
    """Where it serves, from its first line."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], start_s)
    line = process.stdout.readline().decode() if ready else ""
    if not line.startswith("serving "):
        told = "it has ended" if process.poll() is not None or ready else f"nothing within {start_s:g} s"
        raise DeployFailed(f"the service must say where it serves, got: {told}; its messages are above")
    return line.split()[-1]


def run_until_stopped(bundle: Bundle, runtime: Runtime, config: LocalConfig, smoke: Smoke) -> None:
    """Serve, compare, then wait until the service ends or a person interrupts."""
    with run_local(bundle, runtime, config) as running:
        found = ask(running.url, smoke.rows, smoke.expected, bundle=bundle.digest)
        print(smoke.compare(found, runtime, running.url), flush=True)
        print(f"serving on {running.url} until you stop it", flush=True)
        with suppress(KeyboardInterrupt):
            running.process.wait()
