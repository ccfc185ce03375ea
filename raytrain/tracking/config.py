"""What is tracked, and where."""

from typing import Literal

from pydantic import Field

from raytrain.config import Section


class TrackingConfig(Section):
    """Tracking of runs; each tracker can be off."""

    mlflow: bool = True
    """Whether runs are logged to the MLflow store beside the results, and promotions to its registry."""
    wandb: bool = False
    """Whether runs are logged to Weights & Biases; needs `pip install 'raytrain[wandb]'`."""
    wandb_mode: Literal["offline", "online"] = "offline"
    """`offline` keeps the run below `<store>/wandb` for `wandb sync`, needs no key and opens no connection; `online`
    sends it, with the key of `wandb login` or WANDB_API_KEY."""
    wandb_entity: str | None = Field(default=None, min_length=1, max_length=128)
    """The team or user that the W&B project belongs to; your default one when not given."""
    experiment: str = Field(default="raytrain", min_length=1, max_length=250)
    """The MLflow experiment that holds the runs, and the W&B project."""
