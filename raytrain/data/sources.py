"""From a config to a checked frame."""

from pathlib import Path

import polars as pl

from raytrain.data.config import DataConfig
from raytrain.data.demo import load_demo
from raytrain.data.frame import Frame, make_frame
from raytrain.data.snapshot import read_snapshot
from raytrain.errors import ConfigError, DataError


def load(config: DataConfig) -> Frame:
    """Read and check the table that `config` names.

    Raises:
        ConfigError: no path where one is needed.
        DataError: the file cannot be read, or the table breaks the frame contract.
    """
    if config.kind == "demo":
        return make_frame(load_demo(), config, "the demo bars", "demo")
    if config.path is None:
        raise ConfigError(f"data.path must be given when data.kind is {config.kind}; add `--data.path FILE`")
    path = config.path.expanduser()
    if not path.exists():
        raise DataError(f"data.path must exist, got {path}")
    table = read_snapshot(path) if config.kind == "snapshot" else _read_file(path, config.kind)
    return make_frame(table, config, str(path), path.stem.removesuffix(".csv"))


def _read_file(path: Path, kind: str) -> pl.DataFrame:
    try:
        if kind == "parquet":
            return pl.read_parquet(path, glob=False)
        return pl.read_csv(path, try_parse_dates=True, infer_schema_length=None, glob=False)
    # Some corrupt Parquet files make polars panic instead of raising an error of its own.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise DataError(f"data.path must be a readable {kind} file, got {path}: {first_line}") from None
