"""What every mixture shares: its loss, its slope, and when learned weights are trusted."""

from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.members import Lesson, MemberSamples, mix
from raytrain.errors import ConfigError, FitError
from raytrain.families import make_params
from raytrain.families.ensemble import Ensemble, EnsembleParams
from raytrain.metrics import log_loss, pinball_loss

DAY = 86_400 * 10**9
LEVELS = (0.1, 0.5, 0.9)
QUANTILES = FitContext(quantiles=LEVELS)


def lesson_data(forecasts: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> FitData:
    """One day per row, each label known a day later."""
    date = np.arange(len(y)) * DAY
    return FitData(
        x=forecasts.astype(np.float32),
        y=y.astype(np.float32)[:, None],
        weight=np.ones(len(y), dtype=np.float32) if weight is None else weight.astype(np.float32),
        date=date,
        label_date=date + DAY,
        series=np.zeros(len(y), dtype=np.int32),
    )


def around(middle: np.ndarray) -> np.ndarray:
    """(n, members, levels) quantiles of a unit normal around (n, members)."""
    return middle[..., None] + [-1.28, 0.0, 1.28]


def test_samples_keep_what_tells_the_regime() -> None:
    forecasts = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    samples = MemberSamples(forecasts, features)
    assert (len(samples), samples.shape) == (4, (4, 2, 3))
    assert np.array_equal(samples[[2, 0]], forecasts[[2, 0]])
    chosen = MemberSamples.of(samples, np.array([3, 1]))
    assert np.array_equal(chosen.features, features[[3, 1]])
    assert MemberSamples.of(forecasts).features.shape == (4, 0)


def test_a_mixture_is_the_weighted_mean_of_each_level() -> None:
    rng = np.random.default_rng(0)
    forecasts, weights = rng.random((5, 3, 2)).astype(np.float32), rng.random((5, 3))
    expected = [[sum(weights[n, m] * forecasts[n, m, q] for m in range(3)) for q in range(2)] for n in range(5)]
    np.testing.assert_allclose(mix(forecasts, weights), expected, rtol=1e-12)


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_the_loss_is_the_measure_and_the_slope_its_change(task) -> None:
    rng = np.random.default_rng(1)
    binary = task == "binary"
    y = rng.integers(0, 2, 40) if binary else rng.standard_normal(40)
    mixed = rng.uniform(0.1, 0.9, (40, 1)) if binary else rng.standard_normal((40, 3))
    data = lesson_data(np.zeros((40, 2, mixed.shape[1])), y)
    lesson = Lesson.of(data, np.arange(40), replace(QUANTILES, task=task))
    expected = log_loss(y, mixed[:, 0]) if binary else pinball_loss(data.y[:, 0], mixed, LEVELS)
    assert lesson.loss(mixed) == pytest.approx(expected)
    step = 1e-6
    for row, level in ((0, 0), (7, mixed.shape[1] - 1)):
        moved = mixed.copy()
        moved[row, level] += step
        assert lesson.slope(mixed)[row, level] == pytest.approx((lesson.loss(moved) - lesson.loss(mixed)) / step, 1e-4)


def test_a_heavier_row_counts_more() -> None:
    mixed = np.zeros((2, 3))
    data = lesson_data(np.zeros((2, 1, 3)), np.array([1.0, 3.0]), np.array([3.0, 1.0]))
    lesson = Lesson.of(data, np.arange(2), QUANTILES)
    assert lesson.loss(mixed) == pytest.approx(0.5 * (3 * 1 + 1 * 3) / 4)


@pytest.mark.parametrize(
    ("noise", "margin", "trusted"), [((0.1, 3.0), 0.01, True), ((1.0, 1.0), 0.01, False), ((0.1, 3.0), 0.9, False)]
)
def test_learned_weights_are_used_where_they_beat_equal_ones(
    noise: tuple[float, float], margin: float, trusted: bool
) -> None:
    rng = np.random.default_rng(2)
    signal = rng.standard_normal(400)
    middle = signal[:, None] + rng.standard_normal((400, 2)) * noise
    data = lesson_data(around(middle), signal + rng.standard_normal(400))
    by_itself, learned, equal = (
        Ensemble(EnsembleParams(weights=weights, margin=margin)).fit(data, QUANTILES).predict(data.x)
        for weights in ("auto", "learned", "equal")
    )
    assert np.array_equal(by_itself, learned if trusted else equal)
    assert not np.array_equal(learned, equal)


def test_the_comparison_is_made_on_rows_that_taught_nothing() -> None:
    """The better member changes: what older rows teach is wrong on the newer ones, so equal weights stay."""
    rng = np.random.default_rng(3)
    signal, newer = rng.standard_normal(400), np.arange(400) >= 280
    middle = np.where(np.c_[newer, ~newer], rng.standard_normal((400, 2)) * 3, signal[:, None])
    data = lesson_data(around(middle), signal + rng.standard_normal(400))
    equal = Ensemble(EnsembleParams()).untrained().predict(data.x)
    assert np.array_equal(Ensemble(EnsembleParams()).fit(data, QUANTILES).predict(data.x), equal)


def test_levels_that_cross_are_put_in_order() -> None:
    forecasts = np.array([[[3.0, 2.0, 1.0], [0.0, 0.0, 0.0]]], dtype=np.float32)
    assert Ensemble(EnsembleParams()).untrained().predict(forecasts).tolist() == [[[0.5, 1.0, 1.5]]]


def test_too_few_dates_to_compare_leave_weights_equal() -> None:
    data = lesson_data(around(np.array([[0.0, 1.0], [0.0, 1.0]])), np.array([0.0, 0.1]))
    values = Ensemble(EnsembleParams()).fit(data, QUANTILES).predict(data.x)
    np.testing.assert_allclose(values[:, 0, 1], 0.5)


def test_progress_rises_to_one() -> None:
    told: list[float] = []
    data = lesson_data(around(np.random.default_rng(4).standard_normal((60, 2))), np.arange(60.0))
    Ensemble(EnsembleParams()).fit(data, replace(QUANTILES, progress=told.append))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_forecasts_that_are_not_finite_are_refused() -> None:
    forecasts = around(np.zeros((30, 2)))
    forecasts[3, 1, 0] = np.nan
    with pytest.raises(FitError, match="forecasts must be finite, got 1 others"):
        Ensemble(EnsembleParams(weights="learned")).fit(lesson_data(forecasts, np.arange(30.0)), QUANTILES)


def test_a_perfect_mixture_is_no_division_by_zero() -> None:
    y = np.arange(30.0)
    data = lesson_data(np.repeat(y[:, None, None], 2, axis=1), y)
    values = Ensemble(EnsembleParams(weights="learned")).fit(data, FitContext()).predict(data.x)
    np.testing.assert_allclose(values[:, 0, 0], y)


def test_several_targets_at_once_are_refused() -> None:
    data = lesson_data(around(np.zeros((30, 2))), np.arange(30.0))
    with pytest.raises(FitError, match="one target, got 2; plan one fit for each"):
        Ensemble(EnsembleParams()).fit(replace(data, y=np.hstack([data.y, data.y])), QUANTILES)


def test_members_go_by_task_and_nothing_is_scaled_twice() -> None:
    params = EnsembleParams(members=("har", "drift"), binary_members=("lightgbm",))
    assert params.members_for("regression") == ("har", "drift")
    assert params.members_for("binary") == ("lightgbm",)
    with pytest.raises(ConfigError, match=r"params\.ensemble\.scale"):
        make_params("ensemble", {"scale": "har"})
