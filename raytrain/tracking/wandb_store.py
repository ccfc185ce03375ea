"""Log a finished run to Weights & Biases, within a bounded time and in a process of its own.

Offline, which is the default, the run is kept below `<store>/wandb` for `wandb sync`; no key is needed and no
connection is opened. W&B's caches stay below the store too, and its error reports are off.
"""

import subprocess
from importlib.util import find_spec
from pathlib import Path

from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.records import RunRecord, TrackingFailed
from raytrain.tracking.writer import call_writer, cause

FOLDER = "wandb"


def log_to_wandb(store: Path, config: TrackingConfig, record: RunRecord) -> Path | None:
    """Write one W&B run: the daily run, with its families as a table and as summary figures.

    Returns:
        The folder of the run; None when W&B is off.

    Raises:
        TrackingFailed: not installed, no space, no key online, or over 90 s. The run's results are not affected.
    """
    if not config.wandb:
        return None
    try:
        if find_spec("wandb") is None:
            raise OSError("it is not installed; `pip install 'raytrain[wandb]'` brings it")
        (store / FOLDER).mkdir(parents=True, exist_ok=True)
        told = {"project": config.experiment, "entity": config.wandb_entity, "mode": config.wandb_mode}
        arguments = [str(store.resolve())]
        environment = _environment(store)
        return Path(call_writer("raytrain.tracking.wandb_writer", arguments, told | {"run": record}, environment))
    except (OSError, subprocess.SubprocessError) as error:
        raise TrackingFailed(
            f"Weights & Biases could not log run {record.run_id} below {store / FOLDER}: {cause(error)}. "
            "The run's results are complete without it; `tracking.wandb: false` turns it off"
        ) from error


def _environment(store: Path) -> dict[str, str]:
    """Everything that W&B writes below the store; nothing that it would send beside the run."""
    folder = (store / FOLDER).resolve()
    return {
        "WANDB_CACHE_DIR": str(folder / ".cache"),
        "WANDB_DATA_DIR": str(folder / ".data"),
        "WANDB_ARTIFACT_DIR": str(folder / ".artifacts"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_DISABLE_CODE": "true",
    }
