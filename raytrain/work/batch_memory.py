"""Batch sizes that were found, remembered for the machine they were measured on."""

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from raytrain import families
from raytrain.data.atomic import replacing
from raytrain.engines.base import Device, Family, Params
from raytrain.engines.epochs import NetParams
from raytrain.errors import StoreCorrupt
from raytrain.machine.detect import detect
from raytrain.machine.profile import MachineProfile
from raytrain.machine.world import World
from raytrain.work.batch_search import BatchSearch
from raytrain.work.plan import PlannedFit, Recipe, Recipes
from raytrain.work.spec import canonical_json

FOLDER = "batch_sizes"

# What a gradient step costs does not depend on how many there are, or on how far each goes.
_OF_NO_WEIGHT = frozenset(NetParams.model_fields) | {"plateau_patience"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a batch size was found for; another place needs a search of its own."""

    family: str
    params: Mapping[str, Any]
    """Those that change the size of the net or of its inputs."""
    device: Device
    features: int
    """Columns of the feature table."""
    steps: int
    """Rows in a window."""

    @classmethod
    def of(cls, family: type[Family[Any]], params: Params, device: Device, num_features: int) -> "Place":
        """Where fits of these parameters look."""
        values = params.model_dump(mode="json")
        return cls(
            family=family.name,
            params={name: value for name, value in values.items() if name not in _OF_NO_WEIGHT},
            device=device,
            features=num_features,
            steps=family.steps(params),
        )

    @property
    def key(self) -> str:
        """A hash of all parts."""
        return hashlib.sha256(canonical_json(dict(vars(self))).encode()).hexdigest()[:16]


def memory_file(store: Path, profile: MachineProfile, world: World | None = None) -> Path:
    """Where a machine's batch sizes are kept: one file for each machine, and for each that is assumed on it."""
    world = world or World()
    # Whole GiB: what a kernel keeps for itself changes with every update.
    facts: list[Any] = [
        one.model_dump(mode="json") | {"memory_gb": round(one.memory_gb)} for one in (profile, detect(world))
    ]
    facts += [platform.machine(), _chips(world)]
    digest = hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:8]
    return store / FOLDER / f"{profile.name}-{digest}.json"


def _chips(world: World) -> list[str]:
    """The processor, and the accelerators where there are any, by their makers' names."""
    named = re.search(r"^model name\s*: (.+)$", world.read("/proc/cpuinfo") or "", re.MULTILINE)
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    gpus = (world.run(query) or "") if world.which("nvidia-smi") else ""
    return [named[1] if named else world.sysctl("machdep.cpu.brand_string") or "", *gpus.splitlines()]


def remember(path: Path, fit: PlannedFit, search: BatchSearch) -> None:
    """Keep the answer of a search beside those of others.

    Args:
        path: see `memory_file`.
        fit: what was measured.
        search: that has an answer.

    Raises:
        StoreCorrupt: what is there cannot be read.
    """
    answer = search.answer
    assert answer is not None, "a search without an answer is not remembered"
    params = families.get(fit.spec.family).params_type.model_validate_json(fit.spec.params)
    place = Place.of(families.get(fit.spec.family), params, fit.spec.device, fit.shape.features)
    entry = {
        **vars(place),
        "packages": dict(fit.spec.packages),
        "batch_size": answer.batch_size,
        "head_room": search.config.head_room,
        "measured_on": date.today().isoformat(),
        "measured": [vars(one) for one in search.measured],
    }
    entries = _read(path) | {place.key: entry}
    with replacing(path) as file:
        file.write(json.dumps(entries, indent=1, sort_keys=True, allow_nan=False).encode())


def with_remembered(
    recipes: Recipes, store: Path, profile: MachineProfile, num_features: int
) -> tuple[Recipes, list[str]]:
    """Recipes whose nets take the batch size that was found on this machine, unless theirs was given.

    The batch size is part of a fit's parameters and so of its key: a new one means new fits.

    Args:
        recipes: what is to be planned.
        store: that remembers.
        profile: of the machine.
        num_features: columns of the feature table.

    Returns:
        The recipes, and a line for each batch size that was remembered.

    Raises:
        StoreCorrupt: what is there cannot be read.
    """
    asking = [one for one in recipes.recipes if _asks(one.params)]
    entries = _read(memory_file(store, profile)) if asking and (store / FOLDER).exists() else {}
    found = {one.name: entry for one in asking if (entry := _find(entries, one, recipes.slot_device, num_features))}
    changed = tuple(_with_batch(one, found[one.name]) if one.name in found else one for one in recipes.recipes)
    told = [
        f"{name} takes batches of {entry['batch_size']}, found on this machine on {entry['measured_on']}; "
        f"params.{name}.batch_size overrides it"
        for name, entry in found.items()
    ]
    return replace(recipes, recipes=changed), told


def _asks(params: Params) -> bool:
    return isinstance(params, NetParams) and "batch_size" not in params.model_fields_set


def _find(
    entries: Mapping[str, Any], recipe: Recipe, slot_device: Device, num_features: int
) -> Mapping[str, Any] | None:
    """What is remembered for a recipe, if the libraries are still the same."""
    device = slot_device if recipe.family.engine == "torch" else "cpu"
    entry = entries.get(Place.of(recipe.family, recipe.params, device, num_features).key)
    if entry is None or any(_installed(name) != wanted for name, wanted in entry["packages"].items()):
        return None
    return dict(entry)


def _with_batch(recipe: Recipe, entry: Mapping[str, Any]) -> Recipe:
    given = recipe.params.model_dump(mode="json", exclude_unset=True)
    return replace(recipe, params=families.make_params(recipe.name, {**given, "batch_size": entry["batch_size"]}))


def _installed(package: str) -> str | None:
    for name in (package, f"{package}-cpu"):
        with suppress(PackageNotFoundError):
            return version(name)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{path} must hold batch sizes as JSON ({error}); remove it, and search again") from None
    if not isinstance(content, dict):
        raise StoreCorrupt(f"{path} must hold batch sizes as JSON, got a {type(content).__name__}; remove it")
    return content
