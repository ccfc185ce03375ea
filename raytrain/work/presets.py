"""How much effort a run makes: presets, and the choice among them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from datetime import time as TimeOfDay
from pathlib import Path
from typing import Any

from raytrain.config import merge, read_yaml
from raytrain.errors import ConfigError, did_you_mean

ADAPTIVE = "adaptive"

# Below this a large net has nothing to learn from, above it a small one leaves something behind.
_FEW_ROWS, _MANY_ROWS = 2_000, 5_000
_SMALL_MEMORY_GB, _LARGE_MEMORY_GB = 16, 32
_SHORT, _LONG = timedelta(hours=1), timedelta(hours=6)


def preset_file(name: str, folder: Path) -> Path:
    """The file of a preset.

    Raises:
        ConfigError: there is none of that name.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = [*sorted(found.stem for found in folder.glob("*.yaml")), ADAPTIVE]
        raise ConfigError(f"`preset` must name a file in {folder}, got `{name}`; {did_you_mean(name, names)}")
    return path


def lay_under(preset: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the preset says, with everything that was given over it."""
    return merge(read_yaml(preset), given)


def choose_preset(rows: int, memory_gb: float, time_left: timedelta | None) -> tuple[str, str]:
    """The preset that suits the data, the machine and the time, and why.

    Args:
        rows: of the table.
        memory_gb: of the machine.
        time_left: until the run must end; None when it may take what it takes.
    """
    short = [
        f"only {rows:,} rows" if rows < _FEW_ROWS else "",
        f"only {memory_gb:g} GB of memory" if memory_gb < _SMALL_MEMORY_GB else "",
        f"only {time_left.total_seconds() / 60:.0f} minutes left"
        if time_left is not None and time_left < _SHORT
        else "",
    ]
    if reasons := [reason for reason in short if reason]:
        return "fast", " and ".join(reasons)
    if rows >= _MANY_ROWS and memory_gb >= _LARGE_MEMORY_GB and (time_left is None or time_left >= _LONG):
        return "quality", f"{rows:,} rows, {memory_gb:g} GB of memory and time enough"
    return "balanced", f"{rows:,} rows and {memory_gb:g} GB of memory"


def next_time(clock: TimeOfDay, now: datetime) -> datetime:
    """The next moment, after `now`, at which clocks show that time."""
    today = datetime.combine(now.date(), clock, tzinfo=now.tzinfo)
    return today if today > now else today + timedelta(days=1)
