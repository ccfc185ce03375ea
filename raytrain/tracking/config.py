"""What is tracked, and where."""

from pydantic import Field

from raytrain.config import Section


class TrackingConfig(Section):
    """Tracking of runs."""

    mlflow: bool = True
    """Whether runs are logged to the MLflow store beside the results."""
    experiment: str = Field(default="raytrain", min_length=1, max_length=250)
    """The MLflow experiment that holds the runs."""
