"""Ray's dashboard and MLflow's pages for a store, on loopback, until Ctrl-C.

Runs started meanwhile with the printed RAY_ADDRESS use this cluster.
"""

import argparse
import os
import socket
import subprocess
import sys
import time

from raytrain.cluster.ray_cluster import open_cluster
from raytrain.errors import ConfigError
from raytrain.jobs import _command, _terminal
from raytrain.machine.detect import resolve
from raytrain.run_config import RunConfig
from raytrain.tracking.mlflow_store import WRITER_ENVIRONMENT, tracking_uri

MLFLOW_PORT = 5000
"""Another one is taken when this is in use."""


def dashboard(config: RunConfig, options: argparse.Namespace) -> int:
    """Serve until stopped."""
    console = _terminal.make_console()
    stop = _command.StopFlag()
    config.store.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(config.store)]
    port = _free_port(MLFLOW_PORT)
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = config.store / "mlflow-ui.log"
    with (
        open_cluster(resolve(config.machine, config.machines), config.cluster, config.store) as cluster,
        log.open("w", encoding="utf-8") as output,
    ):
        pages = subprocess.Popen(command, env=os.environ | WRITER_ENVIRONMENT, stdout=output, stderr=output)
        try:
            console.print(f"Ray:    {cluster.dashboard}, asks for what `ray get-auth-token` prints", highlight=False)
            console.print(f"MLflow: http://127.0.0.1:{port}", highlight=False)
            console.print(f"use it: RAY_ADDRESS={cluster.address} make daily", highlight=False)
            while not stop() and pages.poll() is None:
                time.sleep(0.5)
        finally:
            _end(pages)
    if not stop():
        console.print(f"MLflow's pages ended by themselves; {log} says why", highlight=False)
    return stop.exit_code if stop() else _command.SOME_FAILED


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise ConfigError("MLflow's pages need a free port on 127.0.0.1, got none; end what listens there")


if __name__ == "__main__":
    _command.main(RunConfig, dashboard, __doc__ or "")
