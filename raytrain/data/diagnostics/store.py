"""`diagnostics.json`: what was found, and the columns that the next table is compared with."""

import json
from pathlib import Path

from raytrain.data.atomic import replacing
from raytrain.data.diagnostics.drift import Schema
from raytrain.data.diagnostics.finding import Diagnostics
from raytrain.errors import DataError

NAME = "diagnostics.json"


def write_diagnostics(diagnostics: Diagnostics, folder: Path) -> Path:
    """Keep the findings, replaced in one step."""
    with replacing(folder / NAME) as file:
        file.write(json.dumps(diagnostics.to_json(), indent=1, allow_nan=False).encode())
    return folder / NAME


def last_schema(folder: Path) -> Schema | None:
    """The columns of the table that was checked last; None when none was.

    Raises:
        DataError: the file is not what `write_diagnostics` wrote.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        schema = json.loads(path.read_text())["schema"]
        return {str(name): str(kind) for name, kind in schema.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} must be what a check wrote, got {type(error).__name__}: {error}; remove it to start anew"
        ) from None
