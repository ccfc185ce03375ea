"""What a fit is told of the rows whose labels are not known yet."""

from dataclasses import replace

import numpy as np
import pytest

from raytrain import families
from raytrain.engines.base import FitData
from raytrain.work.dataset import Dataset
from raytrain.work.fit import Control, run_fit
from raytrain.work.inputs import Inputs
from raytrain.work.spec import FitSpec

Specs = dict[tuple[str, str], FitSpec]
FOLD = "2020-01-01"


def data_of(family: str, spec: FitSpec, dataset: Dataset, among: np.ndarray | None = None) -> FitData:
    kind = families.get(family)
    return Inputs.make(kind, kind.params_type(), dataset, spec, among).training_data()


def known_rows(dataset: Dataset, spec: FitSpec) -> np.ndarray:
    """By the definition: usable, and dated up to the cut-off."""
    return np.flatnonzero(dataset.usable & (dataset.date <= spec.fold.cutoff))


def test_known_are_all_rows_up_to_the_cut_off(dataset: Dataset, specs: Specs) -> None:
    found = {}
    for target in ("return_1d", "return_1w"):
        spec = specs[target, FOLD]
        data = data_of("naive", spec, dataset)
        assert data.known is not None
        found[target] = data.known.read()
        np.testing.assert_array_equal(found[target], dataset.x[known_rows(dataset, spec)])
        np.testing.assert_array_equal(found[target][data.known.train], data.x)
        assert len(data.y) < len(found[target])
    np.testing.assert_array_equal(found["return_1d"], found["return_1w"])


def test_known_obeys_the_training_span_and_the_series(dataset: Dataset, specs: Specs) -> None:
    spec = specs["return_1w", FOLD]
    rolling = replace(spec, fold=replace(spec.fold, train_start=int(dataset.date[200])))
    data = data_of("naive", rolling, dataset, dataset.series == 1)
    rows = known_rows(dataset, spec)
    rows = rows[(dataset.date[rows] >= dataset.date[200]) & (dataset.series[rows] == 1)]
    assert data.known is not None
    np.testing.assert_array_equal(data.known.read(), dataset.x[rows])


def test_what_is_read_may_be_changed(dataset: Dataset, specs: Specs) -> None:
    known = data_of("naive", specs["return_1w", FOLD], dataset).known
    assert known is not None
    before = known.read()
    known.read()[:] = 0
    np.testing.assert_array_equal(known.read(), before)


def test_rows_that_are_taken_keep_their_places(dataset: Dataset, specs: Specs) -> None:
    data = data_of("naive", specs["return_1w", FOLD], dataset)
    for rows in (np.array([3, 40, 41]), np.arange(len(data.y)) % 3 == 0):
        taken = data.take(rows)
        assert taken.known is not None
        np.testing.assert_array_equal(taken.known.read()[taken.known.train], taken.x)


@pytest.mark.parametrize("family", ["lstm", "mlp", "har"])
def test_scaled_inputs_and_windows_know_no_others(dataset: Dataset, specs: Specs, family: str) -> None:
    assert data_of(family, specs["return_1w", FOLD], dataset).known is None


@pytest.mark.native
@pytest.mark.parametrize("family", ["lightgbm", "lightgbm_quantile"])
def test_a_fit_predicts_the_same_whatever_was_fitted_before_it(dataset: Dataset, plan, family: str) -> None:
    from raytrain.engines import lightgbm_booster

    fits = [fit.spec for fit in plan(family, params={family: {"num_rounds": 20}}).fits]

    def predicted(spec: FitSpec) -> list[tuple[object, ...]]:
        return run_fit(spec, dataset, Control()).predictions.rows()

    alone = {}
    for spec in fits:
        lightgbm_booster._kept.clear()
        alone[spec.key] = predicted(spec)
    for order in (fits, fits[::-1]):
        assert {spec.key: predicted(spec) for spec in order} == alone
