"""Measures of probabilities against a loop or scikit-learn, and their edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raytrain import metrics
from raytrain.errors import DataError

LABELS = arrays(int, 20, elements=st.integers(0, 1))
CHANCES = arrays(float, 20, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


def test_brier_by_hand() -> None:
    assert metrics.brier([1, 0, 1], [1.0, 0.5, 0.2]) == pytest.approx((0 + 0.25 + 0.64) / 3)


def test_log_loss_of_a_certain_error_is_large_but_finite() -> None:
    assert metrics.log_loss([1], [0.0]) == pytest.approx(36.04, abs=0.01)
    assert metrics.log_loss([1, 0], [1.0, 0.0]) == pytest.approx(0.0, abs=1e-12)


def test_roc_auc_equals_a_loop_over_pairs(rng: np.random.Generator) -> None:
    actual, probability = rng.integers(0, 2, 60), rng.integers(0, 6, 60) / 5
    pairs = [(p, q) for p in probability[actual == 1] for q in probability[actual == 0]]
    expected = sum(1.0 if p > q else 0.5 if p == q else 0.0 for p, q in pairs) / len(pairs)
    assert metrics.roc_auc(actual, probability) == pytest.approx(expected)


def test_roc_auc_of_one_class_is_nan() -> None:
    assert math.isnan(metrics.roc_auc([1, 1], [0.2, 0.9]))


def test_precision_at_the_base_rate_by_hand() -> None:
    # two positives, so the two highest are called: 0.9 (positive) and 0.8 (not)
    assert metrics.precision_at_base_rate([1, 0, 0, 1], [0.9, 0.8, 0.1, 0.2]) == 0.5
    assert math.isnan(metrics.precision_at_base_rate([0, 0], [0.2, 0.9]))


@given(actual=LABELS, probability=CHANCES, seed=st.integers(0, 99))
def test_precision_is_the_mean_over_all_orders_of_ties(actual: np.ndarray, probability: np.ndarray, seed: int) -> None:
    num = int(actual.sum())
    if num == 0:
        assert math.isnan(metrics.precision_at_base_rate(actual, probability))
        return
    found = metrics.precision_at_base_rate(actual, probability)
    best, worst = (actual[np.lexsort((sign * actual, -probability))][:num].mean() for sign in (-1, 1))
    assert worst - 1e-12 <= found <= best + 1e-12
    order = np.random.default_rng(seed).permutation(20)
    assert metrics.precision_at_base_rate(actual[order], probability[order]) == pytest.approx(found)


@given(actual=LABELS, chance=st.floats(0, 1))
def test_a_constant_forecast_gets_the_base_rate_and_an_auc_of_chance(actual: np.ndarray, chance: float) -> None:
    constant = np.full(20, chance)
    if 0 < actual.sum() < 20:
        assert metrics.precision_at_base_rate(actual, constant) == pytest.approx(actual.mean())
        assert metrics.roc_auc(actual, constant) == 0.5


@given(actual=LABELS, probability=CHANCES)
def test_ranks_alone_decide_auc_and_precision(actual: np.ndarray, probability: np.ndarray) -> None:
    for measure in (metrics.roc_auc, metrics.precision_at_base_rate):
        once, squeezed = measure(actual, probability), measure(actual, probability**3 / 2)
        assert once == squeezed or (math.isnan(once) and math.isnan(squeezed))


@pytest.mark.parametrize("measure", [metrics.brier, metrics.log_loss, metrics.roc_auc, metrics.precision_at_base_rate])
def test_labels_and_probabilities_are_checked(measure: object) -> None:
    with pytest.raises(DataError, match="a label must be 0 or 1, got 2"):
        measure([0, 2], [0.1, 0.2])  # type: ignore[operator]
    with pytest.raises(DataError, match="a probability must lie in 0 to 1"):
        measure([0, 1], [0.1, 1.2])  # type: ignore[operator]


@pytest.mark.native
def test_measures_of_probabilities_equal_those_of_scikit_learn(rng: np.random.Generator) -> None:
    from sklearn import metrics as oracle

    actual, probability = rng.integers(0, 2, 200), rng.integers(0, 11, 200) / 10
    assert metrics.brier(actual, probability) == pytest.approx(oracle.brier_score_loss(actual, probability))
    assert metrics.log_loss(actual, probability) == pytest.approx(oracle.log_loss(actual, probability))
    assert metrics.roc_auc(actual, probability) == pytest.approx(oracle.roc_auc_score(actual, probability))
