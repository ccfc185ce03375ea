"""The `gcloud` command: asked for what it knows, and told what to do."""

import shutil
import subprocess

from raytrain.deploy.smoke import DeployFailed
from raytrain.errors import ConfigError

BUILD_S = 3600.0
"""Seconds that a command may take; most of them are the build of a container."""


def require_gcloud() -> None:
    """See that it is there.

    Raises:
        ConfigError: it is not.
    """
    if shutil.which("gcloud") is None:
        raise ConfigError(
            "gcloud must be on the PATH to deploy to Google Cloud, got none; install the Google Cloud CLI, or leave "
            "--execute out to see what would run"
        )


def run(command: tuple[str, ...]) -> str:
    """What it answers; its progress goes to the terminal.

    Raises:
        DeployFailed: it fails.
    """
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=BUILD_S)
    except subprocess.TimeoutExpired:
        raise DeployFailed(f"`{' '.join(command[:4])} ...` took more than {BUILD_S:g} s") from None
    if done.returncode:
        raise DeployFailed(f"`{' '.join(command[:4])} ...` ended with code {done.returncode}; its messages are above")
    return done.stdout.strip()
