"""From raw rows to forecasts, with nothing but a bundle."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import polars as pl

from raytrain.data.frame import DATE, SERIES
from raytrain.deploy.contents import Bundle, BundleRefused
from raytrain.deploy.inputs import Prepared, prepare
from raytrain.deploy.models import Fitted, Mixture, Model, Seeds, Values
from raytrain.deploy.onnx import load_graphs
from raytrain.deploy.remote import Remote
from raytrain.engines.process import claim
from raytrain.features.targets import ahead_to_price
from raytrain.work.inputs import POSITION

Runtime = Literal["native", "onnx"]


@dataclass(frozen=True)
class Forecast:
    """What was forecast, and what was noticed about the rows."""

    table: pl.DataFrame
    """See `Forecaster.forecast`."""
    notes: tuple[str, ...]
    """Columns that were ignored, categories that are new, series that are behind."""


class Forecaster:
    """A bundle that is loaded; to be closed, as it may have started processes."""

    def __init__(self, bundle: Bundle, model: Model) -> None:
        self.bundle = bundle
        self._model = model

    @classmethod
    def load(cls, bundle: Bundle | Path | str, runtime: Runtime = "native") -> Self:
        """Load the model into this process, and models of other engines into processes of their own.

        Args:
            bundle: opened, or its folder.
            runtime: `native` is the family's own library, and reproduces the run to the bit. `onnx` needs none but
                onnxruntime; members of an ensemble that have no graph stay native.

        Raises:
            BundleRefused: the bundle is not whole, has no graph for `onnx`, or the libraries here are other ones.
            WrongEngine: this process holds a library that the model must not share it with.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        return cls(opened, _load(opened, runtime))

    def forecast(self, table: pl.DataFrame) -> pl.DataFrame:
        """Forecast from the newest row of each series.

        Args:
            table: raw rows, as the source of the run has them; see `Bundle.schema` for columns and how many rows.

        Returns:
            A row per target and series: target, label, horizon, series_id, date (of the newest row), close, then the
            quantiles (`q0.1`) and the price levels that they lead to (`price_q0.1`), or `probability`; `position` of
            families that take positions.

        Raises:
            BundleInput: the rows are not what the schema says.
        """
        return self.explain(table).table

    def explain(self, table: pl.DataFrame) -> Forecast:
        """The same, with notes."""
        prepared = prepare(self.bundle, table)
        return Forecast(self._as_table(self._model.forecast(prepared), prepared), prepared.notes)

    def values(self, table: pl.DataFrame) -> Values:
        """The bare forecasts, series in the order of their names."""
        return self._model.forecast(prepare(self.bundle, table))

    def close(self) -> None:
        """End the processes that were started."""
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _as_table(self, values: Values, prepared: Prepared) -> pl.DataFrame:
        return pl.concat(
            self._of_output(place, values, prepared.origins) for place in range(len(self.bundle.schema.outputs))
        )

    def _of_output(self, place: int, values: Values, origins: pl.DataFrame) -> pl.DataFrame:
        schema = self.bundle.schema
        output = schema.outputs[place]
        forecasts = np.ascontiguousarray(values.forecasts[:, place].T)
        levels = [pl.Series(name, values) for name, values in zip(schema.levels, forecasts, strict=True)]
        told = origins.with_columns(*levels)
        if not schema.is_probability:
            prices = {name: ahead_to_price(pl.col("close"), pl.col(name), output.method) for name in schema.levels}
            told = told.with_columns(price.alias(f"price_{name}") for name, price in prices.items())
        if values.positions is not None:
            told = told.with_columns(pl.Series(POSITION, values.positions))
        who = {"target": output.target, "label": output.label, "horizon": output.horizon}
        named = [pl.lit(value).alias(name) for name, value in who.items()]
        return told.select(*named, SERIES, DATE, pl.all().exclude(SERIES, DATE))


def _load(bundle: Bundle, runtime: Runtime) -> Model:
    if bundle.form == "fit":
        return load_graphs(bundle) if runtime == "onnx" else _native(bundle)
    members: list[Model] = []
    with ExitStack() as loaded:
        for member in bundle.members:
            members.append(_member(bundle, member, runtime))
            loaded.callback(members[-1].close)
        whole = Seeds(members) if bundle.form == "seeds" else Mixture.load(bundle, members)
        loaded.pop_all()
    return whole


def _native(bundle: Bundle) -> Model:
    bundle.require_packages()
    claim(bundle.engine)
    return Fitted.load(bundle)


def _member(whole: Bundle, member: Bundle, runtime: Runtime) -> Model:
    """In this process where the engine is the one of the whole; a graph needs no engine."""
    if member.form != "fit":
        return _load(member, runtime)
    if runtime == "onnx" and member.onnx["files"]:
        return load_graphs(member)
    if member.engine == whole.engine:
        return _native(member)
    member.require_packages()
    return Remote(member)


__all__ = ["BundleRefused", "Forecast", "Forecaster", "Runtime"]
