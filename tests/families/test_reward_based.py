from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.errors import ConfigError
from raytrain.families import make_params
from raytrain.families.reward_based import RewardBased, RewardBasedParams

pytestmark = pytest.mark.native


def earned(model: RewardBased, data: FitData, cost: float) -> np.ndarray:
    """What the positions earn on each row, net."""
    position = model.positions(data.x).astype(float)
    return position * data.y[:, 0] - cost * np.abs(np.diff(position, prepend=0.0))


def test_positions_lie_between_short_and_long_and_are_the_predictions_divided_by_size(make_data) -> None:
    data = make_data()
    model = RewardBased(RewardBasedParams()).fit(data, FitContext())
    position = model.positions(data.x)
    assert (np.abs(position) <= 1).all()
    assert position.min() < -0.5 < 0.5 < position.max()
    assert model.size > 0
    np.testing.assert_allclose(model.predict(data.x)[:, 0, 0] / model.size, position, rtol=1e-6)


def test_it_wants_reward_for_risk_and_not_the_return(make_data) -> None:
    """One feature pays much and is wild, another pays little and is calm: a regression follows the first."""
    rng = np.random.default_rng(0)
    data = make_data(4000)
    wild, calm = data.x[:, 0] > 0.5, np.abs(data.x[:, 0]) <= 0.5
    sign = np.where(calm, np.sign(data.x[:, 1]), 0.0)
    pays, risks = np.where(wild, 0.02, 0.004 * sign), np.where(wild, 0.2, np.where(calm, 0.004, 0.0))
    y = pays + risks * rng.standard_normal(4000)
    x = np.column_stack([wild, sign]).astype(np.float32)
    data = replace(data, x=x, y=y.astype(np.float32)[:, None])
    model = RewardBased(RewardBasedParams(cost_bp=0)).fit(data, FitContext())
    slope, *_ = np.linalg.lstsq(x, y, rcond=None)
    forecast = x @ slope
    ours, theirs = earned(model, data, 0.0), np.tanh(forecast / forecast.std()) * y
    assert ours.mean() / ours.std() > 1.5 * theirs.mean() / theirs.std()


def test_costs_make_it_trade_less(make_data) -> None:
    rng = np.random.default_rng(1)
    data = make_data(2000)
    y = 0.003 * data.x[:, :1] + 0.002 + 0.01 * rng.standard_normal((2000, 1))
    data = replace(data, y=y.astype(np.float32))
    turnover = []
    for cost_bp in (0, 100):
        position = RewardBased(RewardBasedParams(cost_bp=cost_bp)).fit(data, FitContext()).positions(data.x)
        turnover.append(np.abs(np.diff(position)).mean())
    assert turnover[1] < 0.5 * turnover[0]


@pytest.mark.parametrize("drift", [-0.3, 0.3])
def test_without_a_signal_it_holds_what_the_past_favours(make_data, drift: float) -> None:
    data = make_data(2000, y=0.01 * (drift + np.random.default_rng(2).standard_normal(2000)))
    position = RewardBased(RewardBasedParams()).fit(data, FitContext()).positions(data.x)
    assert (np.sign(position) == np.sign(drift)).mean() > 0.95


def test_unknown_features_are_the_median_and_codes_are_no_numbers(make_data) -> None:
    data = make_data(1000)
    code = np.random.default_rng(3).integers(1, 7, 1000).astype(np.float32)
    x, y = np.column_stack([data.x, code]), 0.01 * (code % 2 * 2 - 1)[:, None]
    data = replace(data, x=x, y=(y + 0.005 * data.x[:, 1:2]).astype(np.float32))
    as_numbers, as_codes = (
        earned(RewardBased(RewardBasedParams()).fit(data, FitContext(categorical=given)), data, 0.0)
        for given in ((), (3,))
    )
    assert as_codes.mean() / as_codes.std() > 3 * as_numbers.mean() / as_numbers.std()
    unknown, median = x[:2].copy(), x[:2].copy()
    unknown[:, 0], median[:, 0] = np.nan, np.median(x[:, 0])
    model = RewardBased(RewardBasedParams()).fit(data, FitContext(categorical=(3,)))
    np.testing.assert_allclose(model.positions(unknown), model.positions(median), atol=1e-6)


def test_targets_that_are_no_longer_returns_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"params\.reward_based\.scale: .*'none', got 'har'"):
        make_params("reward_based", {"scale": "har"})


def test_a_loaded_model_holds_the_same_positions(make_data, tmp_path: Path) -> None:
    data = make_data()
    data = replace(data, x=np.where(np.abs(data.x) > 2, np.nan, data.x).astype(np.float32))
    model = RewardBased(RewardBasedParams()).fit(data, FitContext())
    model.save(tmp_path)
    loaded = RewardBased.load(tmp_path)
    assert loaded.size == model.size
    assert np.array_equal(loaded.positions(data.x), model.positions(data.x))
