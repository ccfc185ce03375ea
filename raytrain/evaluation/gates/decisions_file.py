"""All decisions of a run as a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raytrain.data.atomic import replacing
from raytrain.evaluation.gates.decision import Decision

FILE = "decisions.json"


def to_json(decision: Decision) -> dict[str, Any]:
    """All of a decision as JSON values, with its paragraph as `explanation`."""
    return asdict(decision) | {"explanation": decision.explanation}


def write_decisions(folder: Path, decisions: Sequence[Decision]) -> Path:
    """Keep `decisions.json` in a run's folder, replaced in one step: whoever reads it finds all of it or none."""
    path = folder / FILE
    text = json.dumps([to_json(decision) for decision in decisions], indent=1, allow_nan=False)
    with replacing(path) as file:
        file.write(text.encode())
    return path
