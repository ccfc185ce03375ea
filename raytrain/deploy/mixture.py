"""The weights of an ensemble, learned again: a run keeps what it has forecast, and a moment gives back the rest."""

from typing import Any

import numpy as np

from raytrain import families
from raytrain.deploy.models import context_of
from raytrain.engines.members import MemberFamily
from raytrain.errors import StoreCorrupt
from raytrain.work.dataset import Dataset
from raytrain.work.inputs import MemberInputs, forecast_columns
from raytrain.work.models import POOLED
from raytrain.work.spec import FitSpec
from raytrain.work.store import ResultStore


def trained_mixture(spec: FitSpec, dataset: Dataset, store: ResultStore, part: str) -> tuple[MemberFamily[Any], int]:
    """A part of an ensemble as the run has fitted it, and how many rows its weights were learned from.

    Raises:
        StoreCorrupt: it forecasts something else than what is stored.
    """
    family = families.get(spec.family)
    assert issubclass(family, MemberFamily)
    params = family.params_type.model_validate_json(spec.params)
    among = None if part == POOLED else np.asarray(dataset.series == int(part))
    inputs = MemberInputs.make(family, params, dataset, spec, store=store, among=among)
    data, model = inputs.training_data(), family(params)
    context = context_of(spec, dataset.meta["features"])
    model = model.untrained() if data is None else model.fit(data, context)
    _require_reproduced(model, inputs, store)
    return model, len(inputs.train)


def _require_reproduced(model: MemberFamily[Any], inputs: MemberInputs, store: ResultStore) -> None:
    spec, dataset = inputs.spec, inputs.dataset
    found = model.predict(inputs.samples(inputs.test))[:, 0]
    names = np.asarray(dataset.meta["series"])[dataset.series[inputs.test]]
    stored = store.predictions(spec.key)
    expected = stored.filter(stored["series_id"].is_in(names.tolist()))
    if not np.array_equal(expected.select(forecast_columns(type(model), spec)).to_numpy(), found):
        raise StoreCorrupt(
            f"the weights of {spec.label} must give the forecasts that are stored under {spec.key}, got others; fit it "
            "again on this machine"
        )
