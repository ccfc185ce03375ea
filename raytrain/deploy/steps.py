"""What a deploy does, as values: written before it is done, and done only when it is asked for."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raytrain.data.atomic import replacing
from raytrain.deploy.contents import Bundle

PLAN = "plan.json"


@dataclass(frozen=True)
class Step:
    """A command, or a call of a service."""

    what: str
    """For a person."""
    command: tuple[str, ...] = ()
    """As the shell would have it."""
    call: str = ""
    """Method and place of a call."""
    body: Mapping[str, Any] | None = None
    """What the call says."""

    def lines(self) -> list[str]:
        """As text."""
        told = [f"# {self.what}"]
        if self.command:
            told.append(shlex.join(self.command))
        if self.call:
            told.append(f"{self.call} {'' if self.body is None else json.dumps(self.body, sort_keys=True)}".rstrip())
        return told


def write_plan(folder: Path, bundle: Bundle | None, steps: Sequence[Step]) -> Path:
    """Keep what would run, beside what it needs."""
    told = {
        "bundle": None if bundle is None else {"folder": str(bundle.folder), "digest": bundle.digest},
        "steps": [asdict(step) for step in steps],
    }
    with replacing(folder / PLAN) as file:
        file.write(json.dumps(told, indent=1, sort_keys=True).encode())
    return folder / PLAN
