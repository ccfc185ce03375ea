from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData, Shape
from raytrain.engines.members import Lesson, MemberSamples
from raytrain.families.ensemble import Ensemble, EnsembleParams
from raytrain.families.meta_learning import MetaLearning, MetaLearningParams, _Objective

LEVELS = (0.1, 0.5, 0.9)
QUANTILES = FitContext(quantiles=LEVELS)
LEARNED = MetaLearningParams(weights="learned", penalty=0.001)


@pytest.fixture
def two_regimes(make_data: Callable[..., FitData]) -> FitData:
    """The first member is good where the first feature is high, the second where it is low."""
    rng = np.random.default_rng(7)
    regime = rng.standard_normal((800, 2)).astype(np.float32)
    y = 0.01 * rng.standard_normal(800)
    noise = np.where(np.c_[regime[:, 0] > 0, regime[:, 0] <= 0], 0.1, 2.0)
    middle = y[:, None] + 0.01 * rng.standard_normal((800, 2)) * noise
    forecasts = (middle[..., None] + 0.005 * np.array([-1.28, 0, 1.28])).astype(np.float32)
    return replace(make_data(800, y), x=MemberSamples(forecasts, regime))


def loss(data: FitData, values: np.ndarray) -> float:
    """Mean pinball loss of (n, 1, levels)."""
    return Lesson.of(data, np.arange(len(data.y)), QUANTILES).loss(values[:, 0].astype(float))


def test_weights_move_with_the_regime(two_regimes: FitData) -> None:
    """Members are told apart by the regime alone: constant weights gain nothing."""
    stacked, constant, equal = (
        loss(two_regimes, model.predict(two_regimes.x))
        for model in (
            MetaLearning(LEARNED).fit(two_regimes, QUANTILES),
            Ensemble(EnsembleParams(weights="learned")).fit(two_regimes, QUANTILES),
            Ensemble(EnsembleParams()).untrained(),
        )
    )
    assert constant > 0.97 * equal
    assert stacked < 0.8 * constant


def test_without_what_tells_the_regime_little_is_gained(two_regimes: FitData) -> None:
    with_it = loss(two_regimes, MetaLearning(LEARNED).fit(two_regimes, QUANTILES).predict(two_regimes.x))
    blind = replace(two_regimes, x=two_regimes.x[:])
    without = loss(blind, MetaLearning(LEARNED).fit(blind, QUANTILES).predict(blind.x))
    assert with_it < 0.9 * without


def test_the_members_disagreement_tells_a_regime_too(make_data: Callable[..., FitData]) -> None:
    """The second member is better while both agree, and far off where they do not."""
    rng = np.random.default_rng(10)
    y = rng.standard_normal(800)
    noise = np.c_[np.full(800, 0.7), np.where(rng.random(800) < 0.5, 0.1, 6.0)]
    middle = y[:, None] + rng.standard_normal((800, 2)) * noise
    data = replace(make_data(800, y), x=(middle[..., None] + [-0.5, 0, 0.5]).astype(np.float32))
    stacked = loss(data, MetaLearning(LEARNED).fit(data, QUANTILES).predict(data.x))
    constant = loss(data, Ensemble(EnsembleParams(weights="learned")).fit(data, QUANTILES).predict(data.x))
    assert stacked < 0.85 * constant


def test_a_penalty_leaves_constant_weights_free(make_data: Callable[..., FitData]) -> None:
    rng = np.random.default_rng(11)
    y = rng.standard_normal(800)
    middle = y[:, None] + rng.standard_normal((800, 2)) * [0.2, 3.0]
    data = replace(make_data(800, y), x=(middle[..., None] + [-0.5, 0, 0.5]).astype(np.float32))
    strict = MetaLearning(MetaLearningParams(weights="learned", penalty=100)).fit(data, QUANTILES).predict(data.x)
    best = Ensemble(EnsembleParams(weights="learned")).fit(data, QUANTILES).predict(data.x)
    assert loss(data, strict) == pytest.approx(loss(data, best), rel=0.02)


def test_a_forecast_lies_between_those_of_the_members(two_regimes: FitData) -> None:
    values = MetaLearning(LEARNED).fit(two_regimes, QUANTILES).predict(two_regimes.x)[:, 0]
    forecasts = two_regimes.x[:]
    room = 1e-6
    assert (values >= forecasts.min(axis=1) - room).all()
    assert (values <= forecasts.max(axis=1) + room).all()


def test_a_stronger_penalty_moves_weights_less(two_regimes: FitData) -> None:
    def spread(penalty: float) -> float:
        model = MetaLearning(MetaLearningParams(weights="learned", penalty=penalty)).fit(two_regimes, QUANTILES)
        return float(model._weights(two_regimes.x)[:, 0].std())

    weak, strong = spread(0.001), spread(10.0)
    assert strong < 0.05
    assert weak > 0.2


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_the_gradient_is_that_of_the_loss(two_regimes: FitData, task) -> None:
    from scipy.optimize import approx_fprime

    if task == "binary":
        probability = (1 / (1 + np.exp(-200 * two_regimes.x[:][..., 1:2]))).astype(np.float32)
        two_regimes = replace(two_regimes, x=probability, y=(two_regimes.y > 0).astype(np.float32))
    lesson = Lesson.of(two_regimes, np.arange(800), FitContext(task=task, quantiles=LEVELS))
    table = np.random.default_rng(8).standard_normal((800, 4))
    objective = _Objective(lesson, table, penalty=0.1)
    gate = 0.1 * np.random.default_rng(9).standard_normal(8)
    numeric = approx_fprime(gate, lambda at: objective(at)[0], 1e-7)
    np.testing.assert_allclose(objective(gate)[1], numeric, atol=2e-3 if task == "regression" else 1e-5)


def test_unknown_and_constant_features_are_taken(two_regimes: FitData) -> None:
    features = two_regimes.x.features.copy()
    features[::7, 0] = np.nan
    features[:, 1] = 3.0
    x = MemberSamples(two_regimes.x[:], features)
    model = MetaLearning(LEARNED).fit(replace(two_regimes, x=x), QUANTILES)
    assert np.isfinite(model.predict(x)).all()
    moved = MemberSamples(x[:], features + np.array([0, 5], dtype=np.float32))
    assert np.array_equal(model.predict(moved), model.predict(x)), "what did not vary in training says nothing"


def test_it_is_saved_with_the_regime(two_regimes: FitData, tmp_path: Path) -> None:
    model = MetaLearning(LEARNED).fit(two_regimes, QUANTILES)
    model.save(tmp_path)
    assert np.array_equal(MetaLearning.load(tmp_path).predict(two_regimes.x), model.predict(two_regimes.x))


def test_an_untrained_one_is_the_equal_mean(two_regimes: FitData, tmp_path: Path) -> None:
    model = MetaLearning(MetaLearningParams()).untrained()
    forecasts = two_regimes.x[:]
    np.testing.assert_allclose(model.predict(two_regimes.x)[:, 0], forecasts.mean(axis=1), rtol=1e-5, atol=1e-9)
    model.save(tmp_path)
    assert np.array_equal(MetaLearning.load(tmp_path).predict(forecasts), model.predict(forecasts))


def test_what_it_reads_is_named_by_its_parameters() -> None:
    params = MetaLearningParams(regime_features=("vix",))
    assert MetaLearning.regime_features(params) == ("vix",)
    assert Ensemble.regime_features(EnsembleParams()) == ()


def test_more_members_need_more() -> None:
    shape = Shape(rows=5000, features=40, quantiles=3)
    few, many = (MetaLearning.needs(MetaLearningParams(members=tuple(names)), shape) for names in ("ab", "abcdef"))
    assert few.work < many.work
    assert few.memory_bytes < many.memory_bytes
