"""What a tracker is told about a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from raytrain.errors import RaytrainError

Status = Literal["FINISHED", "FAILED", "KILLED"]


class TrackingFailed(RaytrainError):
    """The tracker did not take the run. The run's own results are not touched: warn and go on."""


@dataclass(frozen=True, kw_only=True)
class ChildRecord:
    """One family on one target."""

    family: str
    target: str
    name: str = ""
    """What the tracker shows; family and target when empty."""
    status: Status = "FINISHED"
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """By the names that people query: `val_mape`, `sharpe`, `meets_mape_threshold` (0 or 1), ..."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One daily run and its children."""

    run_id: str
    started_at: int
    """Milliseconds since 1970, as `ended_at`."""
    ended_at: int
    status: Status
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Sequence[Path] = ()
    """Files copied into the tracker."""
    children: Sequence[ChildRecord] = ()
