import math

import numpy as np
import pytest

from raytrain.evaluation.gates.deflated import Sample, deflate, expected_maximum, probability_above

PAPER = Sample(sharpe=2.5 / math.sqrt(250), skewness=-3.0, kurtosis=10.0, num_returns=1250)
"""The numerical example of Bailey & Lopez de Prado (2014): an annual ratio of 2.5 over five years of 250 days."""
VARIANCE = 0.5 / 250
NORMAL = Sample(sharpe=0.1, skewness=0.0, kurtosis=3.0, num_returns=1000)


def test_the_example_of_the_paper() -> None:
    assert expected_maximum(VARIANCE, 100) == pytest.approx(0.1132, abs=5e-5)
    assert probability_above(PAPER, expected_maximum(VARIANCE, 100)) == pytest.approx(0.9004, abs=5e-5)
    assert probability_above(PAPER, expected_maximum(VARIANCE, 46)) == pytest.approx(0.9505, abs=5e-5)
    normal = Sample(sharpe=PAPER.sharpe, skewness=0.0, kurtosis=3.0, num_returns=1250)
    assert probability_above(normal, expected_maximum(VARIANCE, 88)) == pytest.approx(0.9505, abs=5e-5)


def test_one_recipe_is_not_deflated() -> None:
    found = deflate(NORMAL, 1)
    assert found.luckiest == 0.0
    assert found.probability == probability_above(NORMAL, 0.0) > 0.99


def test_the_expected_maximum_is_what_many_draws_have() -> None:
    draws = np.random.default_rng(0).normal(0, 0.03, (4000, 200)).max(axis=1)
    assert expected_maximum(0.03**2, 200) == pytest.approx(draws.mean(), rel=0.02)


def test_more_tries_need_a_better_ratio() -> None:
    few, many, wild = deflate(NORMAL, 5), deflate(NORMAL, 500), deflate(NORMAL, 5, [0.5, -0.5, 0.4, -0.4, 0.1])
    assert few.probability > many.probability
    assert wild.luckiest > few.luckiest


def test_of_few_known_ratios_the_variance_is_that_of_chance() -> None:
    alike = [0.1, 0.1, 0.1, 0.1]
    assert deflate(NORMAL, 4, alike) == deflate(NORMAL, 4)
    assert deflate(NORMAL, 4).luckiest == pytest.approx(expected_maximum(1 / 999, 4))
    assert deflate(NORMAL, 5, [*alike, 0.1]).luckiest == 0.0
    assert deflate(NORMAL, 5, [*alike, math.nan]) == deflate(NORMAL, 5)


def test_a_sample_of_two_values_is_certain() -> None:
    """Kurtosis = skewness^2 + 1 and a ratio of 2 / skewness: the error is 0."""
    sure = Sample(sharpe=1.0, skewness=2.0, kurtosis=5.0, num_returns=100)
    assert (probability_above(sure, 0.5), probability_above(sure, 1.5)) == (1.0, 0.0)
