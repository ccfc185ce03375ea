"""A bundle's forecasts: `python -m raytrain.jobs.predict --bundle DIR --data FILE [--out FILE] [--runtime onnx]`.

Reads raw rows as the run's source had them, and forecasts from the newest row of each series. Without --out the
forecasts are printed as CSV; a file's ending says how it is written: .parquet, .csv or .json.
"""

import argparse
import os
import sys
from pathlib import Path

import polars as pl

from raytrain.config import Settings
from raytrain.data.atomic import replacing
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Forecaster, Runtime
from raytrain.deploy.remote import process_env
from raytrain.deploy.rows import read_rows
from raytrain.errors import ConfigError
from raytrain.jobs import _command

_ENDINGS = (".parquet", ".csv", ".json")


class PredictConfig(Settings):
    """What to forecast with, and from."""

    bundle: Path
    """Folder of the bundle."""
    data: Path
    """Parquet or CSV file with raw rows, a folder with a file per symbol, or one that `raytrain.jobs.export` wrote."""
    out: Path | None = None
    """File for the forecasts."""
    runtime: Runtime = "native"
    """`native` reproduces the run to the bit; `onnx` needs no training library."""


def predict(config: PredictConfig, options: argparse.Namespace) -> int:
    """Check, forecast, write."""
    if config.out is not None and config.out.suffix not in _ENDINGS:
        raise ConfigError(f"`out` must end in {', '.join(_ENDINGS)}, got {config.out}; rename it")
    bundle = Bundle.open(config.bundle)
    # Before the bundle's library loads: this process is its own.
    os.environ.update(process_env(bundle))
    table = read_rows(bundle, config.data)
    with Forecaster.load(bundle, config.runtime) as forecaster:
        forecast = forecaster.explain(table)
    for note in forecast.notes:
        print(f"note: {note}", file=sys.stderr)
    _write(forecast.table, config.out)
    return _command.OK


def _write(table: pl.DataFrame, out: Path | None) -> None:
    if out is None:
        print(table.write_csv(), end="")
        return
    with replacing(out) as file:
        if out.suffix == ".parquet":
            table.write_parquet(file)
        elif out.suffix == ".csv":
            table.write_csv(file)
        else:
            file.write(table.write_json().encode())
    print(f"{len(table)} forecasts in {out}")


if __name__ == "__main__":
    _command.main(PredictConfig, predict, __doc__ or "")
