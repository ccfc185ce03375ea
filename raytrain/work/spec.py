"""A fit as a value: everything that could change its result, and the key made of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

from raytrain.engines.base import Device, Task
from raytrain.features.targets import TargetConfig
from raytrain.folds import Fold

JOIN = "+"
"""Between the names of targets that are forecast together; no name contains it."""


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """Family x parameters x target x fold x seed, and the content of what the fit sees."""

    family: str
    family_version: int
    packages: tuple[tuple[str, str], ...]
    """(distribution, version) of the libraries that compute."""
    params: str
    """The parameters as canonical JSON."""
    target: str
    """The target's name: `return_1w`; those that are forecast together joined by `+`."""
    target_configs: tuple[str, ...]
    """The whole of each target as canonical JSON."""
    task: Task
    quantiles: tuple[float, ...]
    fold: Fold
    seed: int
    device: Device
    features_hash: str
    """Content of the features up to the cut-off."""
    labels_hash: str
    """Content of the labels that are trained on, and of their weights."""
    block_hash: str
    """Content of what the test block is forecast from, beyond what was known at the cut-off. It grows with every row of
    a block that is still open."""
    series_hash: str
    """Names of the series that begin before the end of the test block, in order."""
    path_hash: str = ""
    """Content of the path of prices up to the cut-off, and of what training rows know ahead; empty for a fit that reads
    neither."""
    preprocess: str = ""
    """How inputs are scaled, as canonical JSON; empty for families that take them as they are."""
    members: tuple[str, ...] = ()
    """Keys of the fits whose forecasts this one reads."""
    budget_s: float | None = None
    """Seconds after which the fit stops at its next safe point and keeps what it has learned."""

    @cached_property
    def key(self) -> str:
        """SHA-256 over all parts; equal keys mean equal results."""
        return hashlib.sha256(canonical_json(self.to_dict()).encode()).hexdigest()[:32]

    @cached_property
    def train_key(self) -> str:
        """Hash over the parts that could change the trained model: all but where and on what it forecasts.

        Empty for a fit that reads the forecasts of others: it is trained anew each time, in a moment.
        """
        if self.members:
            return ""
        parts = self.to_dict() | {"fold": [self.fold.train_start, self.fold.cutoff]}
        del parts["block_hash"]
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:32]

    @property
    def label(self) -> str:
        """How the fit is called where people look: the terminal and Ray's dashboard."""
        return f"{self.family} {self.target} {self.fold.name} s{self.seed}"

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the targets, one for each output."""
        return tuple(self.target.split(JOIN))

    @cached_property
    def targets(self) -> tuple[TargetConfig, ...]:
        """What is forecast, one for each output."""
        return tuple(TargetConfig.model_validate_json(one) for one in self.target_configs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`, from parsed JSON."""
        spec = cls(**values)
        return replace(
            spec,
            fold=Fold(**values["fold"]),
            quantiles=tuple(values["quantiles"]),
            target_configs=tuple(values["target_configs"]),
            members=tuple(values["members"]),
            packages=tuple((name, version) for name, version in values["packages"]),
        )


def canonical_json(value: Any) -> str:
    """JSON in one form only: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
