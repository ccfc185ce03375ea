from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.families.ridge import Ridge, RidgeParams

pytestmark = pytest.mark.native
LEVELS = (0.1, 0.5, 0.9)


def test_the_spread_is_the_same_everywhere_and_covers_what_it_says(make_data) -> None:
    data = make_data(4000)
    values = Ridge(RidgeParams()).fit(data, FitContext(quantiles=LEVELS)).predict(data.x)[:, 0]
    np.testing.assert_allclose(np.ptp(values[:, 2] - values[:, 0]), 0, atol=1e-5)
    covered = (values[:, 0] <= data.y[:, 0]) & (data.y[:, 0] <= values[:, 2])
    assert covered.mean() == pytest.approx(0.8, abs=0.03)


def test_noise_is_shrunk(make_data) -> None:
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((600, 60)).astype(np.float32), rng.standard_normal(600)
    data = replace(make_data(600, y), x=x)
    median = Ridge(RidgeParams()).fit(data, FitContext(quantiles=LEVELS)).predict(x)[:, 0, 1]
    least_squares = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    assert median.std() < 0.3 * least_squares.std()


def test_new_rows_are_learned_from_though_they_chose_the_penalty(make_data) -> None:
    data = make_data(400)
    y = data.y.copy()
    y[300:] += 5
    fits = (Ridge(RidgeParams()).fit(one, FitContext(quantiles=LEVELS)) for one in (data, replace(data, y=y)))
    before, after = (model.predict(data.x)[:, 0, 1].mean() for model in fits)
    assert after > before + 1


def test_weights_move_the_quantiles_too(make_data) -> None:
    y = np.random.default_rng(0).standard_normal(1000) * np.repeat([1.0, 5.0, 1.0, 5.0], 250)
    calm = np.repeat([1.0, 0.01, 1.0, 0.01], 250)
    params = RidgeParams(valid_share=0.5)
    spreads = [
        np.ptp(Ridge(params).fit(make_data(1000, y, weight), FitContext(quantiles=LEVELS)).predict(np.zeros((1, 3))))
        for weight in (None, calm)
    ]
    assert spreads[1] < 0.6 * spreads[0]


def test_a_column_of_codes_is_no_number(make_data) -> None:
    data = make_data(1000)
    code = np.random.default_rng(1).integers(1, 7, 1000).astype(np.float32)
    x, y = np.column_stack([data.x, code]), (code % 2 * 2 - 1)[:, None]
    data = replace(data, x=x, y=y)
    errors = []
    for given in ((), (3,)):
        context = FitContext(categorical=given)
        errors.append(np.abs(Ridge(RidgeParams()).fit(data, context).predict(x)[:, 0] - y).mean())
    assert errors[0] > 0.8
    assert errors[1] < 0.2
