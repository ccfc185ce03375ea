"""Drift: the weighted mean and deviation of the past, for ever."""

import numpy as np
import pytest

from raytrain.engines.base import FitContext
from raytrain.families.drift import Drift, DriftParams

X = np.zeros((4, 3), dtype=np.float32)


def test_quantiles_are_normal_around_the_mean(make_data) -> None:
    y = np.random.default_rng(1).exponential(1, 200)
    values = Drift(DriftParams()).fit(make_data(200, y), FitContext(quantiles=(0.1, 0.5, 0.9))).predict(X)
    assert values.shape == (4, 1, 3)
    np.testing.assert_allclose(values[3, 0], y.mean() + y.std() * np.array([-1.2815516, 0, 1.2815516]), rtol=1e-6)


def test_a_weight_is_a_count(make_data) -> None:
    y, weight = np.array([1.0, 2.0, 5.0]), np.array([1, 3, 2])
    context = FitContext(quantiles=(0.25, 0.5))
    weighed = Drift(DriftParams()).fit(make_data(3, y, weight), context).predict(X)
    counted = Drift(DriftParams()).fit(make_data(6, np.repeat(y, weight)), context).predict(X)
    np.testing.assert_allclose(weighed, counted, rtol=1e-6)


def test_a_label_gets_its_weighted_base_rate(make_data) -> None:
    data = make_data(4, np.array([1, 0, 0, 1]), weight=np.array([3, 1, 1, 1]))
    values = Drift(DriftParams()).fit(data, FitContext(task="binary")).predict(X)
    assert values.shape == (4, 1, 1)
    assert values[0, 0, 0] == pytest.approx(4 / 6)
