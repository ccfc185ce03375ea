"""What goes over the wire: the request and the answer of a bundle's service, as types that OpenAPI can be made of."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Self, cast

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from typing_extensions import TypedDict

from raytrain.data.frame import DATE
from raytrain.deploy.contents import Bundle
from raytrain.deploy.inputs import BundleInput
from raytrain.deploy.schema import Column, Schema
from raytrain.errors import did_you_mean
from raytrain.work.inputs import POSITION

_SHOWN = 5

Text = Annotated[str, Field(min_length=1, strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Label = Annotated[str, Field(strict=True)] | int
_TYPES: Mapping[str, Any] = {"date": Text, "series": Text, "number": Number, "category": Label}


class ModelCard(BaseModel):
    """Which model answered."""

    bundle: str
    """Digest over all its files."""
    key: str
    """Of the fit."""
    family: str
    targets: list[str]
    version: str
    """Of raytrain, then of the family."""
    runtime: Literal["native", "onnx"]
    verdict: str | None
    """What the gates said of its recipe."""
    known_until: str
    """The last date that it was trained on."""

    @classmethod
    def of(cls, bundle: Bundle, runtime: Literal["native", "onnx"]) -> Self:
        """Of a bundle that is served."""
        decision = bundle.decision
        return cls(
            bundle=bundle.digest,
            key=bundle.spec.key,
            family=bundle.spec.family,
            targets=list(bundle.spec.target_names),
            version=f"{bundle.about['raytrain']}/{bundle.about['family_version']}",
            runtime=runtime,
            verdict=None if decision is None else decision["verdict"],
            known_until=bundle.about["known_until"],
        )


class Asked(BaseModel):
    """Base of the requests: how, beside the rows."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    bundle: Text = "any"
    """The digest of the bundle that the caller expects; another one is refused (409)."""
    new_categories: Literal["refuse", "unknown"] = "refuse"
    """What becomes of categories that training has not seen: `unknown` counts them as unknown, as training does."""


def request_type(schema: Schema, max_rows: int) -> type[Asked]:
    """A model of requests with rows as records or as columns."""
    many = Field(min_length=1, max_length=max_rows, fail_fast=True)
    record: Any = _table("Record", schema, lambda kind: kind)
    columns: Any = _table("Columns", schema, lambda kind: Annotated[_list_of(kind), many])
    fields: dict[str, Any] = {
        "records": (Annotated[_list_of(record), many], Field(default=[], description="rows, oldest first")),
        "columns": (columns, Field(default={}, description="the same, column by column")),
    }
    made = create_model("PredictRequest", __base__=_Rows, **fields)
    made.model_config["json_schema_extra"] = _either
    made.model_rebuild(force=True)
    return made


def _list_of(kind: Any) -> Any:
    return list[kind]


class _Rows(Asked):
    """Exactly one way of giving rows."""

    @model_validator(mode="after")
    def _is_given_once(self) -> Self:
        given = {"records", "columns"} & self.model_fields_set
        if len(given) != 1:
            raise ValueError(f"rows must be given as `records` or as `columns`, got {' and '.join(given) or 'none'}")
        return self


def _either(schema: dict[str, Any]) -> None:
    """Exactly one of the two must be there."""
    schema["oneOf"] = [{"required": ["records"]}, {"required": ["columns"]}]
    for name in ("records", "columns"):
        schema["properties"][name].pop("default", None)


def instances_type(schema: Schema, max_rows: int) -> type[BaseModel]:
    """A model of requests as Vertex AI sends them."""
    record: Any = _table("Record", schema, lambda kind: kind)
    rows: Any = Annotated[_list_of(record), Field(min_length=1, max_length=max_rows, fail_fast=True)]
    fields: dict[str, Any] = {"instances": (rows, ...), "parameters": (dict[str, Any] | None, None)}
    return create_model("VertexRequest", **fields)


def _table(name: str, schema: Schema, wrap: Any) -> Any:
    """A dict type with the columns as keys; others may be there and are ignored."""
    fields = {}
    for column in schema.columns:
        kind = _TYPES[column.kind]
        kind = wrap(kind | None if column.may_be_unknown else kind)
        fields[column.name] = kind if column.required else NotRequired[kind]
    made: Any = TypedDict  # its functional form, as names of columns need not be names of Python
    made = made(name, fields)
    made.__pydantic_config__ = ConfigDict(extra="allow")
    return made


def answer_type(schema: Schema) -> type[BaseModel]:
    """A model of the answers."""
    fields: dict[str, Any] = {"model": ModelCard, "forecasts": _list_of(forecast_type(schema)), "notes": list[str]}
    return create_model("PredictAnswer", **fields)


def predictions_type(schema: Schema) -> type[BaseModel]:
    """A model of the answers that Vertex AI wants."""
    fields: dict[str, Any] = {"predictions": _list_of(forecast_type(schema))}
    return create_model("VertexAnswer", **fields)


def forecast_type(schema: Schema) -> Any:
    """A row of the forecasts, as `Forecaster.forecast` gives them; null is not known."""
    levels = schema.levels if schema.is_probability else (*schema.levels, *(f"price_{name}" for name in schema.levels))
    fields: dict[str, Any] = {"target": str, "label": str, "horizon": int, "series_id": str, "date": str}
    fields |= dict.fromkeys(("close", *levels), float | None)
    made: Any = TypedDict
    return made("Forecast", fields | {POSITION: NotRequired[float | None]})


def to_table(schema: Schema, asked: Any, new_categories: str = "refuse") -> pl.DataFrame:
    """The rows of a request, whichever way they came.

    Raises:
        BundleInput: columns of different lengths, or a category that training has not seen.
    """
    if "columns" in asked.model_fields_set:
        given: Mapping[str, Sequence[Any]] = asked.columns
    else:
        given = _by_column(asked.records if "records" in asked.model_fields_set else asked.instances, schema)
    lengths = {name: len(given[name]) for name in _wanted(schema, given)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:_SHOWN])
        raise BundleInput(f"columns must be of the same length, got {told}; one value for each row")
    if new_categories == "refuse":
        _require_known(schema, given)
    kinds = {column.name: column.kind for column in schema.columns}
    read = {name: _values(name, kinds[name], given[name]) for name in lengths}
    # The values of what is not read are not looked at, their names are told.
    return pl.DataFrame(read).with_columns(pl.lit(None).alias(name) for name in given if name not in kinds)


def _wanted(schema: Schema, given: Mapping[str, Any]) -> list[str]:
    return [column.name for column in schema.columns if column.name in given]


def _by_column(records: Sequence[Mapping[str, Any]], schema: Schema) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for record in records for name in record)
    read = {column.name for column in schema.columns}
    return {name: [record.get(name) for record in records] if name in read else [] for name in names}


def _values(name: str, kind: str, values: Sequence[Any]) -> pl.Series:
    if kind == "number":
        return pl.Series(name, values, dtype=pl.Float64)
    if kind == "category" and not any(isinstance(value, str) for value in values):
        return pl.Series(name, values, dtype=pl.Int64 if any(value is not None for value in values) else pl.String)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def _require_known(schema: Schema, given: Mapping[str, Sequence[Any]]) -> None:
    for column in schema.columns:
        if column.categories and column.name in given:
            _require_categories(column, given[column.name])


def _require_categories(column: Column, values: Iterable[Any]) -> None:
    found = dict.fromkeys(str(value) for value in values if value is not None)
    if new := [label for label in found if label not in column.categories]:
        raise BundleInput(
            f"`{column.name}` must hold categories that training has seen, got {', '.join(new[:_SHOWN])!r}; correct "
            f'them, or send "new_categories": "unknown" to count them as unknown. '
            f"{did_you_mean(new[0], column.categories[:50])}"
        )


def to_rows(forecasts: pl.DataFrame) -> list[dict[str, Any]]:
    """A table of forecasts as JSON has it: dates as text, what is no number as null."""
    told = forecasts.with_columns(pl.col(DATE).dt.to_string("iso:strict"))
    rows = told.iter_rows(named=True)
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def from_rows(rows: Sequence[Mapping[str, Any]], like: pl.DataFrame) -> pl.DataFrame:
    """The table again, in the types of another."""
    told = pl.DataFrame(rows, infer_schema_length=None).select(like.columns)
    dates = pl.col(DATE).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f").cast(like.schema[DATE])
    return told.with_columns(dates).cast(cast(Any, dict(like.schema)))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
