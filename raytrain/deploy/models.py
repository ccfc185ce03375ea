"""What forecasts inside a process: the family's own model, its ONNX graph, or a mixture of what others forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from raytrain import families
from raytrain.deploy.contents import POOLED, Bundle
from raytrain.deploy.inputs import Prepared
from raytrain.engines.base import FitContext, FloatArray, Samples
from raytrain.engines.members import MemberFamily, MemberSamples
from raytrain.work.dataset import Dataset
from raytrain.work.inputs import Inputs
from raytrain.work.members import columns_of
from raytrain.work.preparation import Preparation
from raytrain.work.spec import FitSpec

Rows = NDArray[np.int64]


class Values(NamedTuple):
    """Forecasts of the newest row of each series, in the targets' own units."""

    forecasts: FloatArray
    """(series, outputs, levels)."""
    positions: FloatArray | None
    """(series,) of a family that takes positions."""


class Model(Protocol):
    """Forecasts from prepared rows."""

    def forecast(self, prepared: Prepared) -> Values:
        """One row for each series."""

    def close(self) -> None:
        """End what was started for it."""


class Predicts(Protocol):
    """What a family offers once it is trained, and a graph as well."""

    def predict(self, x: Samples) -> FloatArray:
        """(n, outputs, levels)."""

    def positions(self, x: Samples) -> FloatArray | None:
        """(n,), or None."""


@dataclass(frozen=True)
class Fitted:
    """A trained model, or one for each series."""

    spec: FitSpec
    parts: Mapping[str, tuple[Predicts, Preparation]]

    @classmethod
    def load(cls, bundle: Bundle) -> "Fitted":
        """In its own library, which this process may hold."""
        bundle.family.set_up(context_of(bundle.spec, bundle.schema.features))
        found = {part: (bundle.family.load(bundle.model(part)), bundle.preparation(part)) for part in bundle.parts}
        return cls(bundle.spec, found)

    def forecast(self, prepared: Prepared) -> Values:
        """Row by row as in the run, which forecast the rows of one date together."""
        dataset, found = prepared.dataset, []
        for group in _groups(prepared, self.parts):
            predicts, preparation = self.parts[group.part]
            inputs = inputs_of(self.spec, dataset, group.rows, preparation)
            forecasts = inputs.unscale(predicts.predict(inputs.samples(group.rows)), group.rows)
            found.append((group.at, Values(forecasts, predicts.positions(inputs.samples(group.rows)))))
        return _in_order(found)

    def close(self) -> None:
        """Nothing was started."""


@dataclass(frozen=True)
class Mixture:
    """A family that mixes what its members forecast."""

    spec: FitSpec
    parts: Mapping[str, MemberFamily[Any]]
    members: Sequence[Model]

    @classmethod
    def load(cls, bundle: Bundle, members: Sequence[Model]) -> "Mixture":
        """The weights; how members forecast is theirs to know."""
        family = bundle.family
        assert issubclass(family, MemberFamily)
        return cls(bundle.spec, {part: family.load(bundle.model(part)) for part in bundle.parts}, members)

    def forecast(self, prepared: Prepared) -> Values:
        """Members first, then their mixture."""
        forecasts = np.concatenate([member.forecast(prepared).forecasts for member in self.members], axis=1)
        found = []
        for group in _groups(prepared, self.parts):
            family = self.parts[group.part]
            patterns = family.regime_features(family.params)
            told = MemberSamples(forecasts[group.at], regimes(prepared.dataset, patterns, group.rows))
            found.append((group.at, Values(family.predict(told), None)))
        return _in_order(found)

    def close(self) -> None:
        """End what the members have started."""
        for member in self.members:
            member.close()


@dataclass(frozen=True)
class Seeds:
    """The mean of what fits forecast that differ by their seed only."""

    members: Sequence[Model]

    def forecast(self, prepared: Prepared) -> Values:
        """Summed in double precision, as the run's table is."""
        values = [member.forecast(prepared) for member in self.members]
        positions = [one.positions for one in values if one.positions is not None]
        return Values(_mean([one.forecasts for one in values]), _mean(positions) if positions else None)

    def close(self) -> None:
        """End what the members have started."""
        for member in self.members:
            member.close()


def context_of(spec: FitSpec, features: Sequence[str]) -> FitContext:
    """What a library is set up with: one thread, as the forecasts of a few rows need no more."""
    return FitContext(
        task=spec.task,
        quantiles=spec.quantiles,
        horizons=tuple(target.horizon for target in spec.targets),
        features=tuple(features),
        seed=spec.seed,
    )


def inputs_of(spec: FitSpec, dataset: Dataset, rows: Rows, preparation: Preparation) -> Inputs:
    """The inputs of rows that are forecast, of a model that learns no more."""
    family = families.get(spec.family)
    params = family.params_type.model_validate_json(spec.params)
    none = np.empty(0, dtype=np.int64)
    return Inputs(
        dataset=dataset,
        spec=spec,
        family=family,
        steps=family.steps(params),
        train=none,
        test=rows,
        preparation=preparation,
    )


def regimes(dataset: Dataset, patterns: Sequence[str], rows: Rows) -> FloatArray:
    """(n, regime features) as a mixture learned them: a flag for each category that training knew."""
    parts = [np.empty((len(rows), 0), dtype=np.float32)]
    names = dataset.meta["features"]
    for column in columns_of(dataset, patterns):
        values = dataset.x[rows, column]
        labels = dataset.meta["categories"].get(names[column])
        parts.append(values[:, None] if labels is None else values[:, None] == np.arange(1, 1 + len(labels)))
    return np.hstack(parts, dtype=np.float32)


class _Group(NamedTuple):
    """Newest rows that one model forecasts at once."""

    part: str
    at: NDArray[np.intp]
    """Places among the newest rows."""
    rows: Rows


def _groups(prepared: Prepared, parts: Mapping[str, object]) -> list[_Group]:
    """By model, then by date: a library may round a row's forecast by what stands beside it."""
    newest, dataset = prepared.newest, prepared.dataset
    dates = dataset.date[newest]
    names = np.array([POOLED if POOLED in parts else str(number) for number in dataset.series[newest]])
    keys = dict.fromkeys(zip(names.tolist(), dates.tolist(), strict=True))
    places = [np.flatnonzero((names == name) & (dates == date)) for name, date in keys]
    return [_Group(name, at, newest[at]) for (name, _), at in zip(keys, places, strict=True)]


def _in_order(found: Sequence[tuple[NDArray[np.intp], Values]]) -> Values:
    """The groups' values in the order of the series."""
    order = np.argsort(np.concatenate([at for at, _ in found]))
    positions = [values.positions for _, values in found if values.positions is not None]
    forecasts = np.concatenate([values.forecasts for _, values in found])[order]
    return Values(forecasts, np.concatenate(positions)[order] if positions else None)


def _mean(values: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(np.stack(values), axis=0, dtype=np.float64), dtype=np.float32)
