"""Measures of quantiles against a loop, closed forms, scikit-learn or utilsforecast, and their edges."""

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raytrain import metrics
from raytrain.errors import DataError

LEVELS = (0.1, 0.5, 0.9)


def test_pinball_loss_equals_a_loop(rng: np.random.Generator) -> None:
    actual, predicted = rng.normal(size=50), rng.normal(size=(50, 3))
    total = 0.0
    for y, row in zip(actual, predicted, strict=True):
        for level, q in zip(LEVELS, row, strict=True):
            total += level * (y - q) if y >= q else (1 - level) * (q - y)
    assert metrics.pinball_loss(actual, predicted, LEVELS) == pytest.approx(total / 150)
    assert metrics.pinball_losses(actual, predicted, LEVELS).mean() == pytest.approx(total / 150)


def test_pinball_loss_is_least_at_the_quantile(rng: np.random.Generator) -> None:
    actual = rng.normal(size=2_000)
    candidates = np.quantile(actual, [0.7, 0.8, 0.9, 0.95])
    losses = [metrics.pinball_loss(actual, np.full((2_000, 1), q), [0.9]) for q in candidates]
    assert np.argmin(losses) == 2


@pytest.mark.parametrize(("shape", "levels"), [((4, 2), LEVELS), ((4,), (0.5,)), ((4, 1), (1.0,)), ((4, 1), (0.0,))])
def test_pinball_loss_refuses_wrong_shapes_and_levels(shape: tuple[int, ...], levels: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="quantile"):
        metrics.pinball_loss(np.zeros(4), np.zeros(shape), levels)


def test_pinball_loss_equals_that_of_utilsforecast(rng: np.random.Generator) -> None:
    from utilsforecast.losses import mqloss

    actual, predicted = rng.normal(size=50), np.sort(rng.normal(size=(50, 3)), axis=1)
    columns = {f"q{level:g}": predicted[:, number] for number, level in enumerate(LEVELS)}
    table = pd.DataFrame({"unique_id": "a", "ds": range(50), "y": actual, **columns})
    found = mqloss(table, models={"model": list(columns)}, quantiles=np.array(LEVELS))["model"][0]
    assert metrics.pinball_loss(actual, predicted, LEVELS) == pytest.approx(found)


def test_level_weights_are_the_nearest_parts_of_0_to_1() -> None:
    assert metrics.level_weights([0.5]).tolist() == [1.0]
    assert metrics.level_weights(LEVELS) == pytest.approx([0.3, 0.4, 0.3])
    with pytest.raises(DataError, match="levels must rise, got"):
        metrics.level_weights([0.5, 0.1])


def test_crps_of_many_levels_is_that_of_the_normal_distribution() -> None:
    """Gneiting & Raftery (2007), equation 21: s * (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    normal = NormalDist()
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = 0.1 + 2 * np.array([normal.inv_cdf(level) for level in levels])
    for outcome in (-3.0, 0.1, 1.7):
        z = (outcome - 0.1) / 2
        expected = 2 * (z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / math.sqrt(math.pi))
        assert metrics.crps([outcome], quantiles[None], levels.tolist()) == pytest.approx(expected, abs=2e-3)


@given(members=arrays(float, 8, elements=st.floats(-50, 50)), outcome=st.floats(-60, 60))
def test_crps_of_equal_parts_is_that_of_an_ensemble(members: np.ndarray, outcome: float) -> None:
    levels = ((np.arange(8) + 0.5) / 8).tolist()
    spread = np.abs(members[:, None] - members[None]).mean()
    expected = np.abs(members - outcome).mean() - spread / 2
    assert metrics.crps([outcome], np.sort(members)[None], levels) == pytest.approx(expected, abs=1e-9)


def test_crps_of_the_median_alone_is_the_absolute_error(rng: np.random.Generator) -> None:
    actual, median = rng.normal(size=20), rng.normal(size=20)
    assert metrics.crps(actual, median[:, None], [0.5]) == pytest.approx(metrics.mae(actual, median))


@given(
    actual=arrays(float, 6, elements=st.floats(-10, 10)),
    predicted=arrays(float, (6, 3), elements=st.floats(-10, 10)),
    factor=st.floats(0.01, 100),
    shift=st.floats(-5, 5),
)
def test_losses_scale_with_the_unit_and_do_not_know_the_origin(
    actual: np.ndarray, predicted: np.ndarray, factor: float, shift: float
) -> None:
    for loss in (metrics.pinball_loss, metrics.crps):
        once = loss(actual, predicted, LEVELS)
        assert loss(factor * actual, factor * predicted, LEVELS) == pytest.approx(factor * once, abs=1e-9)
        assert loss(actual + shift, predicted + shift, LEVELS) == pytest.approx(once, abs=1e-9)
        assert once >= 0


def test_coverage_includes_both_ends() -> None:
    assert metrics.coverage([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 4.0, 0.0], [2.0, 2.0, 5.0, 3.9]) == 0.5


def test_shares_below_equal_a_loop_and_the_level_when_calibrated(rng: np.random.Generator) -> None:
    actual, predicted = rng.normal(size=40).round(1), rng.normal(size=(40, 3)).round(1)
    expected = [np.mean([y <= q for y, q in zip(actual, column, strict=True)]) for column in predicted.T]
    assert metrics.shares_below(actual, predicted, LEVELS).tolist() == pytest.approx(expected)
    many = rng.normal(size=20_000)
    quantiles = np.tile([NormalDist().inv_cdf(level) for level in LEVELS], (20_000, 1))
    assert metrics.shares_below(many, quantiles, LEVELS) == pytest.approx(LEVELS, abs=0.01)


def test_shares_below_equal_those_of_utilsforecast(rng: np.random.Generator) -> None:
    from utilsforecast.losses import calibration

    actual, predicted = rng.normal(size=50), rng.normal(size=50)
    table = pd.DataFrame({"unique_id": "a", "ds": range(50), "y": actual, "q": predicted})
    (share,) = metrics.shares_below(actual, predicted[:, None], [0.5])
    assert share == calibration(table, models={"model": "q"})["model"][0]


def test_pit_shares_count_the_bins_between_the_quantiles() -> None:
    quantiles = np.tile([1.0, 2.0, 3.0], (5, 1))
    assert metrics.pit_shares([0.0, 1.0, 1.5, 9.0, 2.5], quantiles, LEVELS).tolist() == [0.4, 0.2, 0.2, 0.2]


@given(
    actual=arrays(float, 15, elements=st.integers(-4, 4).map(float)),
    predicted=arrays(float, (15, 3), elements=st.integers(-4, 4).map(float)),
)
def test_pit_shares_sum_to_1_and_add_up_to_the_shares_below(actual: np.ndarray, predicted: np.ndarray) -> None:
    shares = metrics.pit_shares(actual, predicted, LEVELS)
    assert shares.sum() == pytest.approx(1)
    rising = np.sort(predicted, axis=1)
    added = np.cumsum(metrics.pit_shares(actual, rising, LEVELS))[:-1]
    assert added == pytest.approx(metrics.shares_below(actual, rising, LEVELS))


@pytest.mark.native
def test_pinball_loss_equals_that_of_scikit_learn(rng: np.random.Generator) -> None:
    from sklearn.metrics import mean_pinball_loss

    actual, predicted = rng.normal(size=200), rng.normal(size=200)
    for level in LEVELS:
        expected = mean_pinball_loss(actual, predicted, alpha=level)
        assert metrics.pinball_loss(actual, predicted[:, None], [level]) == pytest.approx(expected)
