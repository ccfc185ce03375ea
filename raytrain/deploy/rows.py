"""Raw rows from a file, as the source of a bundle's run would have given them."""

from pathlib import Path
from typing import get_args

import polars as pl

from raytrain.data.config import DataConfig, Kind
from raytrain.data.files import ENDINGS
from raytrain.data.sources import open_source
from raytrain.deploy.contents import Bundle
from raytrain.errors import DataError


def read_rows(bundle: Bundle, path: Path) -> pl.DataFrame:
    """The columns of a file or folder that the bundle reads, and the others that lie beside them.

    Raises:
        DataError: no such file, or none that can be read.
    """
    if not path.exists():
        raise DataError(f"the rows must be a file or a folder, got {path}, which is not there")
    kind = _kind(bundle.data, path)
    source = open_source(bundle.data.model_copy(update={"kind": kind, "path": str(path)}))
    return source.read(source.columns())


def _kind(data: DataConfig, path: Path) -> Kind:
    """By the ending of a file; a folder is what the run's was, or one that an export wrote."""
    for kind in get_args(Kind):
        if path.name.lower().endswith(ENDINGS.get(kind, ("\0",))):
            found: Kind = kind
            return found
    if path.is_file():
        endings = ", ".join(ending for known in ENDINGS.values() for ending in known)
        raise DataError(f"the rows must be in a file that ends in {endings}, got {path}; name another")
    return data.kind if data.kind in ENDINGS else "snapshot"
