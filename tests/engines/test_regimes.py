import json
from itertools import pairwise

import numpy as np
import pytest

from raytrain.engines.regimes import Regimes, fit_regimes, mixture_quantiles


@pytest.fixture
def regimes() -> Regimes:
    return Regimes(
        center=np.array([0.5, 0.0]),
        axes=np.array([[1.0], [0.0]]),
        means=np.array([[-1.0], [1.0]]),
        whitening=np.array([[[1.0]], [[0.5]]]),
        start=np.array([0.7, 0.3]),
        transition=np.array([[0.9, 0.1], [0.2, 0.8]]),
    )


def density(z: float, mean: float, deviation: float) -> float:
    return np.exp(-0.5 * ((z - mean) / deviation) ** 2) / deviation


def test_beliefs_are_bayes_rule_over_all_paths(regimes: Regimes) -> None:
    rng = np.random.default_rng(0)
    window = rng.standard_normal((1, 4, 2))
    seen = [[density(x - 0.5, -1, 1), density(x - 0.5, 1, 2)] for x in window[0, :, 0]]
    total = np.zeros(2)
    for path in np.ndindex(2, 2, 2, 2):
        chance = regimes.start[path[0]] * np.prod([seen[step][regime] for step, regime in enumerate(path)])
        total[path[-1]] += chance * np.prod([regimes.transition[step] for step in pairwise(path)])
    np.testing.assert_allclose(regimes.probabilities(window)[0], total / total.sum())


def test_later_rows_change_no_belief(regimes: Regimes) -> None:
    rows = np.random.default_rng(1).standard_normal((30, 2))
    other = rows.copy()
    other[20:] = 99

    def beliefs(table: np.ndarray) -> np.ndarray:
        windows = np.stack([table[end - 4 : end + 1] for end in range(4, 30)])
        return regimes.probabilities(windows)

    assert np.array_equal(beliefs(rows)[:16], beliefs(other)[:16])
    assert not np.array_equal(beliefs(rows)[16], beliefs(other)[16])


def test_a_row_far_from_every_regime_has_a_belief(regimes: Regimes) -> None:
    belief = regimes.probabilities(np.array([[[1e6, 0.0], [-1e6, 0.0]]]))
    np.testing.assert_allclose(belief.sum(axis=1), 1)
    assert np.isfinite(belief).all()


def test_it_survives_json_to_the_bit(regimes: Regimes) -> None:
    read = Regimes.from_json(json.loads(json.dumps(regimes.to_json())))
    windows = np.random.default_rng(2).standard_normal((5, 3, 2))
    assert np.array_equal(read.probabilities(windows), regimes.probabilities(windows))


@pytest.mark.native
def test_regimes_and_how_long_they_last_are_found() -> None:
    rng = np.random.default_rng(3)
    wild = np.arange(2000) // 50 % 2 == 1
    x = np.where(wild, 4.0, -4.0)[:, None] + rng.standard_normal((2000, 2))
    found = fit_regimes(x, np.zeros(2000, dtype=np.int32), num_regimes=2, num_components=1, seed=0)
    np.testing.assert_allclose(found.start, 0.5, atol=0.02)
    np.testing.assert_allclose(np.diagonal(found.transition), 0.98, atol=0.01)
    belief = found.probabilities(x[:, None, :])
    assert (np.ptp(belief[wild], axis=0) < 0.01).all()
    assert (abs(belief[wild].mean(axis=0) - belief[~wild].mean(axis=0)) > 0.99).all()


@pytest.mark.native
def test_a_new_series_does_not_follow_the_one_before() -> None:
    x = np.repeat([-5.0, 5.0], 100)[:, None] + np.random.default_rng(4).standard_normal((200, 1))
    series = np.repeat([0, 1], 100).astype(np.int32)
    apart = fit_regimes(x, series, 2, 1, seed=0).transition
    joined = fit_regimes(x, np.zeros(200, dtype=np.int32), 2, 1, seed=0).transition
    np.testing.assert_allclose(apart, [[100 / 101, 1 / 101], [1 / 101, 100 / 101]], atol=1e-3)
    assert joined.min(axis=1).max() > 1.5 / 102


def test_mixture_quantiles_are_those_of_a_weighted_sample() -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal((2, 3, 400)) * np.array([0.1, 1, 3])[:, None]
    weight = np.array([[1.0, 0, 0], [0.2, 0.3, 0.5]])
    levels = (0.1, 0.5, 0.9)
    found = mixture_quantiles(values, weight, levels)
    np.testing.assert_allclose(found[0], np.quantile(values[0, 0], levels, method="hazen"))
    repeated = np.concatenate([np.tile(values[1, part], times) for part, times in enumerate((2, 3, 5))])
    np.testing.assert_allclose(found[1], np.quantile(repeated, levels, method="hazen"), atol=0.02)
