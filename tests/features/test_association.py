"""Rank correlations against loops and against scipy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from raytrain.features.association import MIN_INFORMATION, associate, ranks

NAN = np.nan


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


def test_ranks_are_mid_ranks_around_zero() -> None:
    found = ranks(column(30.0, NAN, 10.0, 10.0, 20.0))

    assert found[:, 0].tolist() == pytest.approx([0.375, NAN, -0.25, -0.25, 0.125], nan_ok=True)


def test_without_ties_it_is_spearmans_correlation_on_the_rows_known_in_both() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 3)), rng.normal(size=(500, 2))
    y[:, 0] += x[:, 1] ** 3

    found = associate(ranks(x), ranks(y)).value

    for left in range(3):
        for right in range(2):
            assert found[left, right] == pytest.approx(spearmanr(x[:, left], y[:, right]).statistic, abs=2e-3)


def test_for_a_dummy_it_is_the_share_of_pairs_in_order_minus_the_rest() -> None:
    rng = np.random.default_rng(1)
    x = (rng.random(200) < 0.2).astype(np.float64)
    y = rng.normal(size=200) + x
    pairs = [np.sign(one - other) for one in y[x == 1] for other in y[x == 0]]

    assert associate(ranks(x[:, None]), ranks(y[:, None])).value[0, 0] == pytest.approx(np.mean(pairs), abs=1e-3)


@pytest.mark.parametrize("rule", [np.sign, np.exp, lambda y: -(y**3), lambda y: y > 0.7])
def test_a_rising_or_falling_rule_is_worth_one_however_coarse(rule: object) -> None:
    y = np.random.default_rng(2).normal(size=(1000, 1))

    found = associate(ranks(np.asarray(rule(y), dtype=np.float64)), ranks(y))  # type: ignore[operator]

    assert abs(found.value[0, 0]) == pytest.approx(1, abs=2e-3)
    assert found.sure[0, 0] > 0.95


def test_one_wrong_value_moves_nothing() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(400, 1)), rng.normal(size=(400, 1))
    x[7], y[7] = 1e6, 1e6

    assert abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1]) > 0.99
    assert associate(ranks(x), ranks(y)).sure[0, 0] < 0.1


def test_unknown_values_are_left_out() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 1))
    y = x.copy()
    x[:150], y[350:] = NAN, NAN

    assert associate(ranks(x), ranks(y)).value[0, 0] == pytest.approx(1, abs=2e-2)
    assert associate(ranks(np.full((400, 1), NAN)), ranks(y)).value[0, 0] == 0


def test_few_rows_few_ones_and_overlapping_targets_are_not_sure() -> None:
    y = np.random.default_rng(5).normal(size=(600, 1))
    close = y + np.random.default_rng(6).normal(0, 0.3, (600, 1))
    rare = np.zeros((600, 1))
    rare[np.argsort(y[:, 0])[-5:]] = 1

    few = MIN_INFORMATION - 1
    assert associate(ranks(close[:few]), ranks(y[:few])).sure[0, 0] == 0
    assert associate(ranks(rare), ranks(y)).sure[0, 0] == 0
    alone, shared = (associate(ranks(close), ranks(y), overlap).sure[0, 0] for overlap in (1.0, 60.0))
    assert alone > 0.9 > shared + 0.1


def test_noise_is_sure_of_nothing() -> None:
    rng = np.random.default_rng(7)

    found = associate(ranks(rng.normal(size=(300, 100))), ranks(rng.normal(size=(300, 5))))

    assert found.sure.max() < 0.1
