import json
from dataclasses import asdict

import numpy as np
import pytest

from raytrain.engines.platt import Platt
from raytrain.engines.training import log_loss


def claims(rows: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of two outputs and what a net claims: the first twice too sure, the second shifted; both by logits."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, (rows, 2))
    y = (rng.random((rows, 2)) < 1 / (1 + np.exp(-true))).astype(np.float32)
    claimed = true * [2.0, 1.0] + [0.0, 1.0]
    return y, (1 / (1 + np.exp(-claimed)))[..., None].astype(np.float32), np.ones(rows, dtype=np.float32)


def test_confidence_and_shift_are_taken_back() -> None:
    platt = Platt.fit(*claims())
    np.testing.assert_allclose(platt.slopes, [0.5, 1.0], atol=0.06)
    np.testing.assert_allclose(platt.intercepts, [0.0, -1.0], atol=0.15)
    y, claimed, _ = claims(seed=1)
    calibrated = platt.apply(claimed)
    assert calibrated.dtype == np.float32
    assert calibrated.shape == claimed.shape
    assert log_loss(y, calibrated[..., 0]).mean() < log_loss(y, claimed[..., 0]).mean()
    np.testing.assert_allclose(calibrated[..., 0].mean(axis=0), y.mean(axis=0), atol=0.02)


def test_a_row_counts_as_often_as_it_weighs() -> None:
    y, claimed, weight = claims(rows=200)
    weight[::3] = 3
    # Weights have mean 1 and the labels are drawn in by one row of each class: repeated rows would draw in less.
    many = np.repeat(np.arange(200), weight.astype(int) * 20)
    weighted = Platt.fit(np.tile(y, (20, 1)), np.tile(claimed, (20, 1, 1)), np.tile(weight, 20))
    repeated = Platt.fit(y[many], claimed[many], np.ones(len(many), dtype=np.float32))
    np.testing.assert_allclose(weighted.slopes, repeated.slopes, rtol=1e-2)
    np.testing.assert_allclose(weighted.intercepts, repeated.intercepts, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_rows_of_a_single_class_give_a_finite_map(label: float) -> None:
    _, claimed, weight = claims(rows=50)
    platt = Platt.fit(np.full((50, 2), label, dtype=np.float32), claimed, weight)
    calibrated = platt.apply(claimed)
    assert np.isfinite([*platt.slopes, *platt.intercepts]).all()
    assert abs(calibrated - label).max() < 0.1
    assert ((calibrated > 0) & (calibrated < 1)).all()


def test_a_net_that_is_wrong_on_the_rows_aside_is_silenced() -> None:
    y, claimed, weight = claims()
    calibrated = Platt.fit(1 - y, claimed, weight).apply(claimed)
    assert np.ptp(calibrated, axis=0).max() < 1e-6
    np.testing.assert_allclose(calibrated[0, :, 0], (1 - y).mean(axis=0), atol=0.01)


def test_the_order_of_rows_stays() -> None:
    claimed = np.linspace(0, 1, 101, dtype=np.float32)[:, None, None]
    calibrated = Platt((0.3,), (1.2,)).apply(claimed)
    assert (np.diff(calibrated[:, 0, 0]) > 0).all()


def test_it_survives_json_to_the_bit() -> None:
    platt = Platt.fit(*claims(rows=100))
    assert Platt.from_json(json.loads(json.dumps(asdict(platt)))) == platt


@pytest.mark.native
def test_it_agrees_with_a_logistic_regression_on_the_drawn_in_labels() -> None:
    from sklearn.linear_model import LogisticRegression

    y, claimed, weight = claims(rows=300)
    ones = y[:, 0].sum()
    target = np.where(y[:, 0] > 0, (ones + 1) / (ones + 2), 1 / (300 - ones + 2))
    logit = np.log(claimed[:, 0, 0] / (1 - claimed[:, 0, 0]))
    # Both classes for every row, weighted by how much of each it is.
    oracle = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(
        np.tile(logit, 2)[:, None], np.repeat([1, 0], 300), sample_weight=np.concatenate([target, 1 - target])
    )
    platt = Platt.fit(y[:, :1], claimed[:, :1], weight)
    assert platt.slopes[0] == pytest.approx(oracle.coef_[0, 0], abs=1e-4)
    assert platt.intercepts[0] == pytest.approx(oracle.intercept_[0], abs=1e-4)
