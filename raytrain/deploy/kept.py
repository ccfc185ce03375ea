"""What BigQuery is to keep: forecasts, and the graph that made them where BigQuery ML takes it."""

import re
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path

import polars as pl
from pydantic import Field, field_validator

from raytrain.config import Section
from raytrain.data.frame import DATE, SERIES
from raytrain.deploy.cloud_run import require_project
from raytrain.deploy.contents import POOLED, Bundle
from raytrain.deploy.rows import read_rows
from raytrain.deploy.smoke import Smoke, own_forecasts
from raytrain.errors import ConfigError, DataError

_WORD = re.compile(r"\w{1,200}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][-_.a-z0-9]{1,61}[a-z0-9]", re.ASCII)
PARTITION, SOURCE = "forecast_date", "source"
"""Columns beside those of the forecasts: the newest row's date, and a hash of the bundle or the file."""
_NUM_COMPARED = 8
"""Series whose forecasts by the imported model are compared, at most."""


class BigQueryTarget(Section):
    """A table, and a model beside it where a bucket is named."""

    project: str = ""
    """Google Cloud project."""
    dataset: str = "raytrain"
    """Dataset of table and model; it must be there."""
    table: str = "forecasts"
    """Table for a run's forecasts; those of a bundle go to `<table>_<target>`."""
    location: str | None = None
    """Where the dataset lives, such as `EU`; found by BigQuery when not given."""
    bucket: str = ""
    """Cloud Storage bucket for the graph, in the same location; without it no model is imported."""
    max_model_bytes: int = Field(250 * 2**20, gt=0)
    """Largest graph that BigQuery ML imports."""
    api_endpoint: str | None = None
    """A stand-in server to ask instead of BigQuery; it gets no credentials."""
    storage_endpoint: str | None = None
    """A stand-in server to ask instead of Cloud Storage."""

    @field_validator("dataset", "table")
    @classmethod
    def _is_a_word(cls, name: str) -> str:
        if not _WORD.fullmatch(name):
            raise ValueError("must be up to 200 letters, digits and _")
        return name

    @field_validator("bucket")
    @classmethod
    def _is_a_bucket(cls, name: str) -> str:
        if name and not _BUCKET.fullmatch(name):
            raise ValueError("must be the name of a bucket, without gs://")
        return name

    def require_project(self) -> None:
        """Raises ConfigError without one."""
        require_project(self.project, "bigquery.project")


@dataclass(frozen=True)
class Kept:
    """What BigQuery is to keep."""

    forecasts: pl.DataFrame
    """With the columns forecast_date and source."""
    table: str
    graph: Path | None
    """To be imported as a model."""
    model: str
    place: str
    """Of the graph in the bucket."""
    bundle: Bundle | None = None
    """That the graph is of."""
    smoke: Smoke | None = None
    """What its model must forecast."""

    @property
    def day(self) -> date:
        """The partition."""
        found: date = self.forecasts[PARTITION][0]
        return found


def to_keep(bundle: Bundle | None, forecasts: Path | None, data: Path | None, config: BigQueryTarget) -> Kept:
    """A run's forecasts, or a bundle's from raw rows, and its graph.

    Raises:
        ConfigError: neither rows nor forecasts are named, or the graph cannot be imported.
        DataError: they cannot be read.
    """
    if forecasts is not None:
        found, source = _read(forecasts), sha256(forecasts.read_bytes()).hexdigest()
        return Kept(_dated(found, source), _full(config, config.table), None, "", "")
    if bundle is None or data is None:
        raise ConfigError("bigquery keeps forecasts from raw rows, got none; add --data FILE, or --forecasts FILE")
    rows = read_rows(bundle, data)
    found = own_forecasts(bundle, rows)
    name = re.sub(r"\W", "_", "_".join(bundle.spec.target_names))[:100]
    graph = importable(bundle, config) if config.bucket else None
    place = f"raytrain/{bundle.digest}/model.onnx"
    model = _full(config, f"{config.table}_{name}_model")
    table, smoke = _full(config, f"{config.table}_{name}"), _a_few(bundle, Smoke(rows, found))
    return Kept(_dated(found, bundle.digest), table, graph, model, place, bundle, smoke)


def _a_few(bundle: Bundle, smoke: Smoke) -> Smoke:
    """The same for the first series: what is compared travels as parameters of a query."""
    if bundle.data.series not in smoke.rows.columns:
        return smoke
    few = smoke.expected[SERIES].unique(maintain_order=True)[:_NUM_COMPARED].to_list()
    rows = smoke.rows.filter(pl.col(bundle.data.series).cast(pl.String).is_in(few))
    return Smoke(rows, smoke.expected.filter(pl.col(SERIES).is_in(few)))


def _full(config: BigQueryTarget, name: str) -> str:
    return f"{config.project}.{config.dataset}.{name}"


def _read(path: Path) -> pl.DataFrame:
    try:
        found = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"the forecasts must be a run's forecast.parquet, got {path}: {error}") from None
    if missing := {"target", SERIES, DATE} - set(found.columns):
        raise DataError(f"the forecasts must have {', '.join(sorted(missing))}, got {path} without; name another file")
    if found.is_empty():
        raise DataError(f"the forecasts must have rows, got 0 in {path}; name another file")
    return found


def _dated(forecasts: pl.DataFrame, source: str) -> pl.DataFrame:
    """BigQuery's names may not have dots: `q0.1` becomes `q0_1`."""
    names = {name: re.sub(r"\W", "_", name) for name in forecasts.columns}
    day = forecasts[DATE].max()
    told = forecasts.rename(names).with_columns(pl.col(pl.Datetime).dt.cast_time_unit("us"))
    return told.with_columns(pl.lit(day).cast(pl.Date).alias(PARTITION), pl.lit(source).alias(SOURCE))


def importable(bundle: Bundle, config: BigQueryTarget) -> Path:
    """The graph that BigQuery ML takes.

    Raises:
        ConfigError: there is none, there are several, it reads windows, or it is too large.
    """
    files = bundle.onnx["files"]
    way_out = "leave bigquery.bucket out to keep the forecasts only"
    if not files:
        raise ConfigError(
            f"BigQuery ML imports ONNX graphs, and this bundle has none: {bundle.onnx['reason']}; {way_out}"
        )
    if set(files) != {POOLED}:
        raise ConfigError(f"BigQuery ML imports one graph, got {len(files)}, one for each series; {way_out}")
    if bundle.family.inputs != "rows":
        raise ConfigError(f"BigQuery ML has no arrays of arrays, and {bundle.spec.family} reads windows; {way_out}")
    path: Path = bundle.folder / files[POOLED]
    if (size := path.stat().st_size) > config.max_model_bytes:
        raise ConfigError(
            f"BigQuery ML imports graphs of at most {config.max_model_bytes} bytes, got {size} of "
            f"{bundle.spec.family}; train a smaller model, or {way_out}"
        )
    return path
