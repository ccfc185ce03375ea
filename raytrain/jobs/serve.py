"""A bundle as a web service: `python -m raytrain.jobs.serve --bundle DIR [--serve.runtime onnx] [--serve.port 8080]`.

Answers on loopback until it is told to stop: /healthz, /schema, /predict, and /openapi.json that tells what they take.
"""

import argparse
from pathlib import Path

from raytrain.config import Settings
from raytrain.deploy.server import ServeOptions, serve
from raytrain.jobs import _command


class ServeConfig(Settings):
    """What to serve, and where."""

    bundle: Path
    """Folder of the bundle."""
    serve: ServeOptions = ServeOptions()
    """Where and how."""


def run(config: ServeConfig, options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    serve(config.bundle, config.serve)
    return _command.OK


if __name__ == "__main__":
    _command.main(ServeConfig, run, __doc__ or "")
