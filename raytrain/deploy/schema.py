"""What a bundle takes and what it gives, so that a stranger can feed it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import polars as pl

from raytrain import families
from raytrain.config import Section
from raytrain.data import DataConfig, Frame
from raytrain.features.build import FeaturesConfig
from raytrain.features.steps import RSI, AnyStep, Garch
from raytrain.features.steps.bars import ATR
from raytrain.features.steps.momentum import MACD
from raytrain.features.steps.rolling import EwmaVolatility
from raytrain.features.targets import Kind as TargetKind
from raytrain.features.targets import Method, TargetConfig
from raytrain.work.dataset import Dataset
from raytrain.work.inputs import PROBABILITY, forecast_columns
from raytrain.work.spec import FitSpec

_FADING: tuple[type[AnyStep], ...] = (ATR, EwmaVolatility, Garch, MACD, RSI)
"""Steps whose values remember all rows, the older the fainter."""
_FADED_ROWS = 1250
"""Rows after which what volatility forecasts remember of older ones is below 1 % (their slowest mean has a decay of
1 - 1/250 a row)."""

Kind = Literal["date", "series", "number", "category"]


class Column(Section):
    """A column of the table that a bundle is given."""

    name: str
    kind: Kind
    """`date`: a date or time; `series`: text; `number`; `category`: text or whole numbers."""
    meaning: str
    required: bool = True
    """Whether the column must be there."""
    may_be_unknown: bool = True
    """Whether null or NaN is allowed, and treated as in training."""
    known_ahead: bool = False
    """Whether its future values are known in advance."""
    categories: tuple[str, ...] = ()
    """What training knew; anything else counts as unknown. Empty where any value goes."""


class Output(Section):
    """One target that is forecast."""

    target: str
    kind: TargetKind
    label: str
    horizon: int
    """Rows ahead."""
    method: Method
    unit: str


class Schema(Section):
    """Inputs and outputs of a bundle."""

    columns: tuple[Column, ...]
    series: tuple[str, ...]
    """The series that training knew; others are refused. Some of them may be left out."""
    warm_up_rows: int
    """Rows of each series that must be given, the forecast's own included; fewer are refused."""
    advised_rows: int
    """Rows from which on older ones hardly matter. Forecasts are equal to the run's to the bit on the rows that the run
    read: recursive averages never forget quite."""
    outputs: tuple[Output, ...]
    levels: tuple[str, ...]
    """Columns of the forecast: one per quantile (`q0.1`), or `probability`."""
    quantiles: tuple[float, ...]
    features: tuple[str, ...]
    """What the model sees, in order, made of the columns by the steps in config.json."""
    known: tuple[int, ...]
    """Those of them that are known in advance."""
    categories: dict[str, tuple[str, ...]]
    """Those that hold codes -> the categories, in the order of their codes, counted from 1."""

    @classmethod
    def of(cls, spec: FitSpec, dataset: Dataset, data: DataConfig, features: FeaturesConfig, rows: int) -> Self:
        """What a fit reads and forecasts.

        Args:
            spec: the fit.
            dataset: what it has seen.
            data: of its run.
            features: of its run.
            rows: that one forecast reads: the look-back of the features and the window; see `rows_read`.
        """
        meta, family = dataset.meta, families.get(spec.family)
        params = family.params_type.model_validate_json(spec.params)
        fades = family.inputs in ("history", "members") or params.scale != "none"
        fades |= any(isinstance(step, _FADING) for step in features.steps)
        return cls(
            columns=tuple(_columns(data, features, meta["categories"], alone=len(meta["series"]) == 1)),
            series=tuple(meta["series"]),
            warm_up_rows=rows,
            advised_rows=max(rows, _FADED_ROWS) if fades else rows,
            outputs=tuple(_output(target) for target in spec.targets),
            levels=tuple(forecast_columns(family, spec)),
            quantiles=spec.quantiles if spec.task == "regression" else (),
            features=tuple(meta["features"]),
            known=tuple(meta["known"]),
            categories={name: tuple(labels) for name, labels in meta["categories"].items()},
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the file in a bundle."""
        return cls.model_validate_json(path.read_bytes())

    @property
    def is_probability(self) -> bool:
        """Whether a probability is forecast, not quantiles."""
        return self.levels == (PROBABILITY,)


def rows_read(spec: FitSpec, features: FeaturesConfig) -> int:
    """Rows of a series behind one forecast: a whole window on rows that are past the warm-up of the features."""
    family = families.get(spec.family)
    lookback = max((step.lookback for step in features.steps), default=0)
    return lookback + family.steps(family.params_type.model_validate_json(spec.params))


def _columns(
    data: DataConfig, features: FeaturesConfig, categories: dict[str, list[str]], *, alone: bool
) -> Iterable[Column]:
    """The columns that are read, each once: its weightiest meaning counts."""
    yield Column(name=data.date, kind="date", meaning="when the row was known", may_be_unknown=False)
    yield Column(name=data.series, kind="series", meaning="series", required=not alone, may_be_unknown=False)
    done = {data.date, data.series}
    for name, meaning, may_be_unknown in (
        (data.price, "price", False),
        (data.high, "highest price of the row", False),
        (data.low, "lowest price of the row", True),
        (data.volatility_index, "volatility index, percent a year", True),
        *((name, "number that features are made of", True) for name in _numbers(data, features)),
    ):
        if name is not None and name not in done:
            ahead = name in features.known
            yield Column(name=name, kind="number", meaning=meaning, may_be_unknown=may_be_unknown, known_ahead=ahead)
            done.add(name)
    for name in dict.fromkeys([*features.categorical, *(one for step in features.steps for one in step.over_text())]):
        if name not in done:
            labels = tuple(categories.get(name, ()))
            ahead = name in features.known
            yield Column(name=name, kind="category", meaning="category", known_ahead=ahead, categories=labels)


def _numbers(data: DataConfig, features: FeaturesConfig) -> list[str]:
    """The numeric columns that the steps read; which, they tell from the names of the price columns alone."""
    names = Frame(pl.DataFrame(), data.price, data.prices[-1], data.periods_per_year, source="")
    return list(dict.fromkeys(name for step in features.steps for name in step.over(names)))


def _output(target: TargetConfig) -> Output:
    rows = f"{target.horizon} row" + "s" * (target.horizon > 1)
    changes = {"log": "log return", "simple": "simple return", "difference": "change of the price"}
    unit = f"{changes[target.method]} over {rows}; price_* are price levels"
    if target.kind == "threshold":
        unit = f"probability that the highest price of the next {rows} reaches +{target.threshold:.4g} of the price"
    return Output(
        target=target.name,
        kind=target.kind,
        label=target.label,
        horizon=target.horizon,
        method=target.method,
        unit=unit,
    )
