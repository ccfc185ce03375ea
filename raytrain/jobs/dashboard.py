"""Ray's dashboard and MLflow's pages for a store, on loopback, until Ctrl-C.

Runs started meanwhile with the printed RAY_ADDRESS use this cluster.
"""

import argparse
import subprocess
import sys
import time

from raytrain.cluster.ray_cluster import open_cluster
from raytrain.jobs import _command, _terminal
from raytrain.machine.detect import resolve
from raytrain.pipeline import RunConfig
from raytrain.tracking.mlflow_store import tracking_uri

MLFLOW_PORT = "5000"


def dashboard(config: RunConfig, options: argparse.Namespace) -> int:
    """Serve until stopped."""
    console = _terminal.make_console()
    stop = _command.StopFlag()
    config.store.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(config.store)]
    with open_cluster(resolve(config.machine, config.machines), config.cluster, config.store) as cluster:
        pages = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", MLFLOW_PORT], stdout=subprocess.DEVNULL)
        try:
            console.print(
                f"Ray:    {cluster.dashboard} (it asks for what `ray get-auth-token` prints)", highlight=False
            )
            console.print(f"MLflow: http://127.0.0.1:{MLFLOW_PORT}", highlight=False)
            console.print(f"use it: RAY_ADDRESS={cluster.address} make daily", highlight=False)
            while not stop() and pages.poll() is None:
                time.sleep(0.5)
        finally:
            pages.terminate()
            pages.wait(timeout=10)
    return stop.exit_code if stop() else _command.SOME_FAILED


if __name__ == "__main__":
    _command.main(RunConfig, dashboard, __doc__ or "")
