"""The part files of a snapshot: Parquet, or CSV packed with gzip whose types the manifest keeps."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl

from raytrain.errors import DataError

Format = Literal["parquet", "csv.gz"]
Compression = Literal["zstd", "snappy"]

_PLAIN = {
    str(kind): kind
    for kind in (
        *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64()),
        *(pl.Float32(), pl.Float64(), pl.Boolean(), pl.String(), pl.Date(), pl.Time()),
    )
}
_TIME = re.compile(r"Datetime\(time_unit='(ms|us|ns)', time_zone=(?:None|'([\w/+-]+)')\)")


def read_part(content: bytes, name: str, kinds: Mapping[str, str]) -> pl.DataFrame:
    """The table in a part file.

    Raises:
        polars.exceptions.PolarsError: it is no such table.
    """
    if name.endswith(".parquet"):
        return pl.read_parquet(io.BytesIO(content))
    texts = pl.read_csv(content, infer_schema=False)
    return texts.select(_typed(column, _kind(column, kinds[column])) for column in texts.columns)


def write_csv_part(table: pl.DataFrame, path: Path) -> None:
    """Write a packed CSV file that gives back the same table.

    Raises:
        DataError: a column would come back otherwise: of a type that CSV cannot hold, or an empty text.
    """
    kinds = {name: str(kind) for name, kind in table.schema.items()}
    for name, kind in kinds.items():
        _kind(name, kind)
    zoned = [name for name, kind in table.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    plain = table.with_columns(pl.col(zoned).dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    plain.write_csv(path, compression="gzip", datetime_format="%Y-%m-%d %H:%M:%S%.f")
    back = read_part(path.read_bytes(), path.name, kinds)
    for name in table.columns:
        if not table[name].equals(back[name], null_equal=True):
            raise DataError(f"csv.gz must keep every value, got a change in `{name}` ({kinds[name]}); use parquet")


def _kind(column: str, text: str) -> Any:
    """The type that the manifest names."""
    if text in _PLAIN:
        return _PLAIN[text]
    if found := _TIME.fullmatch(text):
        return pl.Datetime(found[1], found[2])  # type: ignore[arg-type]
    raise DataError(f"csv.gz must hold numbers, texts, dates or times, got `{column}` as {text}; use parquet")


def _typed(column: str, kind: Any) -> pl.Expr:
    text = pl.col(column)
    if kind == pl.Boolean:
        return text == "true"
    if kind == pl.Date:
        return text.str.to_date("%Y-%m-%d")
    if kind == pl.Time:
        return text.str.to_time("%H:%M:%S%.f")
    if isinstance(kind, pl.Datetime):
        moment = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit=kind.time_unit)
        return moment.dt.replace_time_zone("UTC").dt.convert_time_zone(kind.time_zone) if kind.time_zone else moment
    return text.cast(kind)
