"""The part of a saved model that every family has: `params.json`, with what is needed to read the rest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from raytrain.engines.base import Family
from raytrain.errors import StoreCorrupt

_PARAMS = "params.json"

F = TypeVar("F", bound=Family[Any])


def write_params(folder: Path, model: Family[Any], state: Mapping[str, Any]) -> None:
    """Write who the model is, its parameters and `state`, small values that JSON keeps exactly."""
    content = {
        "family": model.name,
        "version": model.version,
        "params": model.params.model_dump(mode="json"),
        "state": state,
    }
    (folder / _PARAMS).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_params(folder: Path, family: type[F]) -> tuple[F, dict[str, Any]]:
    """An unfitted model of `family` with the parameters that were written, and the state.

    Raises:
        StoreCorrupt: the folder holds another family's model, or one whose numbers have another meaning today.
    """
    content = json.loads((folder / _PARAMS).read_text())
    found, expected = (content["family"], content["version"]), (family.name, family.version)
    if found != expected:
        raise StoreCorrupt(
            f"{folder} must hold a model of {expected[0]} version {expected[1]}, found {found[0]} version {found[1]}; "
            "fit it again"
        )
    return family(family.params_type(**content["params"])), content["state"]
