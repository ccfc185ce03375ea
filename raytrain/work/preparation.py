"""How the inputs and targets of a fit are prepared: learned from its training rows, then frozen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.engines.base import Family, Params
from raytrain.features.preprocess import Preprocess
from raytrain.features.volatility import Volatility, fit_volatility
from raytrain.work.dataset import Dataset
from raytrain.work.spec import FitSpec

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What was learned from training rows to prepare inputs; frozen: applied to any rows, undone on predictions."""

    preprocess: Preprocess | None = None
    volatility: tuple[Volatility, ...] = ()
    """A forecast of each target's deviation, which targets are divided by; empty for none."""
    y_scale: tuple[float, ...] = ()
    """(outputs,) what the targets are divided by after that; empty for families that take them as they are."""

    @classmethod
    def learn(
        cls, family: type[Family[Any]], params: Params, dataset: Dataset, spec: FitSpec, train: Rows
    ) -> "Preparation":
        """From the training rows."""
        volatility = _fit_volatility(params, dataset, spec, train)
        y_scale: tuple[float, ...] = ()
        if family.scaled and spec.task == "regression":
            deviation = np.std(targets_of(dataset, spec, volatility, train), axis=0, dtype=np.float64)
            y_scale = tuple(np.where(deviation > 0, deviation, 1).astype(np.float32).tolist())
        preprocess = _fit_preprocess(dataset, train, scaled=family.scaled)
        return cls(preprocess=preprocess, volatility=volatility, y_scale=y_scale)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; floats survive exactly."""
        return {
            "preprocess": None if self.preprocess is None else self.preprocess.to_json(),
            "volatility": [one.to_json() for one in self.volatility],
            "y_scale": list(self.y_scale),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preparation":
        """Rebuild a frozen preparation."""
        preprocess = values["preprocess"]
        return cls(
            preprocess=None if preprocess is None else Preprocess.from_json(preprocess),
            volatility=tuple(Volatility.from_json(one) for one in values["volatility"]),
            y_scale=tuple(values["y_scale"]),
        )

    @property
    def scale(self) -> NDArray[np.float32] | None:
        """(outputs,) `y_scale`; None where there is nothing to divide by."""
        return np.array(self.y_scale, dtype=np.float32) if any(one != 1 for one in self.y_scale) else None


def _fit_preprocess(dataset: Dataset, train: Rows, *, scaled: bool) -> Preprocess | None:
    """What the inputs go through; None for nothing."""
    categorical = dataset.categorical
    if scaled:
        return Preprocess.fit(dataset.x, train, dataset.preprocess, categorical)
    return Preprocess.fit_codes(dataset.x, train, categorical) if categorical else None


def _fit_volatility(params: Params, dataset: Dataset, spec: FitSpec, train: Rows) -> tuple[Volatility, ...]:
    if params.scale == "none" or spec.task == "binary":
        return ()
    return tuple(
        fit_volatility(params.scale, dataset.path(target.method), train, target.horizon) for target in spec.targets
    )


def targets_of(dataset: Dataset, spec: FitSpec, volatility: Sequence[Volatility], rows: Rows) -> NDArray[np.float32]:
    """(n, outputs), divided by the forecast of their deviation."""
    y = np.column_stack([dataset.y(target)[rows] for target in spec.target_names])
    return y / deviations_of(dataset, spec, volatility, rows) if volatility else y


def deviations_of(dataset: Dataset, spec: FitSpec, volatility: Sequence[Volatility], rows: Rows) -> NDArray[np.float32]:
    """(n, outputs) how far each target is expected to move."""
    pairs = zip(volatility, spec.targets, strict=True)
    found = [one.forecast(dataset.path(target.method), rows) for one, target in pairs]
    return np.column_stack(found).astype(np.float32)
