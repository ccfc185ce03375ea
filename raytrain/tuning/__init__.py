"""Search for parameters on the cluster of the daily job; `sweep`, `trainable` and `resources` are for notebooks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raytrain.tuning.claims import resources
    from raytrain.tuning.search import sweep
    from raytrain.tuning.trial import trainable

__all__ = ["resources", "sweep", "trainable"]

_HOMES = {"resources": "claims", "sweep": "search", "trainable": "trial"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: a config that names `tuning.config` must not load Ray."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
