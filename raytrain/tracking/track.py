"""Tell every tracker of a finished run."""

from pathlib import Path

from raytrain.tracking.config import TrackingConfig
from raytrain.tracking.mlflow_store import log_run
from raytrain.tracking.records import RunRecord, TrackingFailed
from raytrain.tracking.registry import sync_registry
from raytrain.tracking.wandb_store import log_to_wandb


def track(store: Path, config: TrackingConfig, record: RunRecord) -> list[str]:
    """Log the run and what it promoted, each tracker by itself; one that is down stops neither the run nor the others.

    Returns:
        What did not work, a sentence each.
    """
    steps = (
        lambda: log_run(store, config, record),
        lambda: sync_registry(store, config),
        lambda: log_to_wandb(store, config, record),
    )
    notes = []
    for step in steps:
        try:
            step()
        except TrackingFailed as error:
            notes.append(str(error))
    return notes
