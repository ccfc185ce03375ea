"""Volatility forecasts: positive, frozen, blind to what comes, and better than a constant where there is something."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.features.history import PricePath
from raytrain.features.volatility import Volatility, VolatilityKind, fit_volatility

KINDS: tuple[VolatilityKind, ...] = ("har", "ewma")
both = pytest.mark.parametrize("kind", KINDS)


def path_of(change: np.ndarray, series: np.ndarray | None = None, **beside: np.ndarray) -> PricePath:
    unknown = np.full(len(change), np.nan)
    names = {"range": unknown, "implied": unknown} | beside
    return PricePath(change, **names, series=np.zeros(len(change), np.int32) if series is None else series)


def garch(rows: int, seed: int, unit: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Changes, and the deviation of the one after each row."""
    noise, change, variance = np.random.default_rng(seed).standard_normal(rows), np.zeros(rows), np.ones(rows + 1)
    for row in range(rows):
        change[row] = np.sqrt(variance[row]) * noise[row]
        variance[row + 1] = 0.02 + 0.08 * change[row] ** 2 + 0.9 * variance[row]
    return unit * change, unit * np.sqrt(variance[1:])


# Calm and wild stretches, with changes that are unknown, exactly 0, or enormous.
changes = st.lists(
    st.one_of(st.floats(-0.1, 0.1), st.sampled_from([0.0, 0.0, float("nan"), 3.0, -3.0])), min_size=3, max_size=60
)


@st.composite
def paths(draw: Any) -> PricePath:
    parts = draw(st.lists(changes, min_size=1, max_size=3))
    change = np.concatenate([[np.nan, *part[1:]] for part in parts])
    series = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int32)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    unknown = rng.random((2, len(change))) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    beside = np.where(unknown, np.nan, rng.exponential(0.02, (2, len(change))))
    return path_of(change, series, range=beside[0], implied=beside[1])


def taught(path: PricePath, horizon: int) -> np.ndarray:
    rows = np.arange(len(path.series) - horizon)
    return rows[path.series[rows] == path.series[rows + horizon]]


@settings(max_examples=60, deadline=None)
@given(path=paths(), kind=st.sampled_from(KINDS), horizon=st.integers(1, 4))
def test_a_forecast_is_positive_and_finite_on_every_row(path: PricePath, kind: VolatilityKind, horizon: int) -> None:
    every = np.arange(len(path.series))
    found = fit_volatility(kind, path, taught(path, horizon), horizon).forecast(path, every)
    assert found.dtype == np.float64
    assert found.shape == every.shape
    assert np.isfinite(found).all()
    assert (found > 0).all()


@settings(max_examples=60, deadline=None)
@given(path=paths(), kind=st.sampled_from(KINDS), cut=st.floats(0, 1), seed=st.integers(0, 9))
def test_no_forecast_knows_what_comes_after_it(path: PricePath, kind: VolatilityKind, cut: float, seed: int) -> None:
    """To the bit, whatever comes after in its own series, or in others."""
    model = fit_volatility(kind, path, taught(path, 1), 1)
    place = np.concatenate([np.arange(size) for size in np.unique(path.series, return_counts=True)[1]])
    late = place > cut * place.max()
    noise = np.random.default_rng(seed).normal(0, 1, (3, late.sum()))
    other = replace(path, change=path.change.copy(), range=path.range.copy(), implied=path.implied.copy())
    other.change[late], other.range[late], other.implied[late] = noise[0], np.abs(noise[1]), np.abs(noise[2])
    early = np.flatnonzero(~late)
    assert model.forecast(other, early).tobytes() == model.forecast(path, early).tobytes()


@settings(max_examples=30, deadline=None)
@given(path=paths(), kind=st.sampled_from(KINDS), share=st.floats(0.1, 1))
def test_a_path_that_ends_at_a_row_agrees(path: PricePath, kind: VolatilityKind, share: float) -> None:
    model = fit_volatility(kind, path, taught(path, 1), 1)
    rows = max(1, int(share * len(path.series)))
    found = model.forecast(path.shorter(rows), np.arange(rows))
    assert found.tobytes() == model.forecast(path, np.arange(rows)).tobytes()


@both
@pytest.mark.parametrize("horizon", [1, 5])
def test_a_fit_reads_nothing_after_its_last_label(kind: VolatilityKind, horizon: int) -> None:
    change, _ = garch(900, 1)
    ended, poisoned = change.copy(), change.copy()
    poisoned[600 + horizon + 1 :] = 9.0
    rows = np.arange(601)
    assert fit_volatility(kind, path_of(poisoned), rows, horizon) == fit_volatility(kind, path_of(ended), rows, horizon)
    poisoned[600 + horizon] = 9.0
    assert fit_volatility(kind, path_of(poisoned), rows, horizon) != fit_volatility(kind, path_of(ended), rows, horizon)


@settings(max_examples=30, deadline=None)
@given(path=paths(), kind=st.sampled_from(KINDS))
def test_a_frozen_forecast_survives_json_exactly(path: PricePath, kind: VolatilityKind) -> None:
    model = fit_volatility(kind, path, taught(path, 2), 2)
    assert Volatility.from_json(json.loads(json.dumps(model.to_json(), allow_nan=False))) == model


def test_ewma_equals_a_loop() -> None:
    change, _ = garch(300, 2)
    change[[0, 40, 41]] = np.nan
    rows = np.arange(5, 299)
    model = fit_volatility("ewma", path_of(change), rows, 1)
    expected, total, weight = [], 0.0, 0.0
    for value in change:
        if np.isfinite(value):
            total, weight = 0.94 * total + value**2, 0.94 * weight + 1
        expected.append(np.sqrt(total / weight) if weight else np.nan)
    np.testing.assert_allclose(
        model.forecast(path_of(change), rows), model.scale * np.array(expected)[rows], rtol=1e-12
    )


@both
@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_squared_forecasts_are_right_on_average(kind: VolatilityKind, horizon: int) -> None:
    """So that targets divided by them have deviation 1, whatever the horizon."""
    change, _ = garch(4000, 3)
    rows = np.arange(100, 3900)
    ahead = sum(change[rows + step] for step in range(1, horizon + 1))
    surprise = ahead / fit_volatility(kind, path_of(change), rows, horizon).forecast(path_of(change), rows)
    assert np.mean(surprise**2) == pytest.approx(1)


def test_the_true_deviation_is_followed() -> None:
    change, true = garch(6000, 4)
    found = {kind: fit_volatility(kind, path_of(change), np.arange(3000), 1) for kind in KINDS}
    late = np.arange(3100, 5900)
    follows = {
        kind: np.corrcoef(model.forecast(path_of(change), late), true[late])[0, 1] for kind, model in found.items()
    }
    assert follows["ewma"] > 0.9
    assert follows["har"] > 0.9


def test_the_weights_of_a_planted_cascade_are_found() -> None:
    """Deviations that are 0.3 of last week's and 0.6 of last month's: HAR is told by nothing else."""
    rng = np.random.default_rng(5)
    change = rng.standard_normal(30_000)
    for row in range(22, len(change)):
        week, month = (np.sqrt(np.mean(change[row - num : row] ** 2)) for num in (5, 22))
        change[row] *= 0.06 + 0.3 * week + 0.6 * month
    model = fit_volatility("har", path_of(change), np.arange(300, 29_000), 1)
    day, week, month, quarter, falls, _ = np.array(model.coefficients[0]) / np.sum(model.coefficients[0])
    assert day < 0.05
    assert 0.2 < week < 0.45
    assert 0.4 < month < 0.75
    assert quarter < 0.2
    assert falls < 0.1


def test_falls_count_where_they_make_volatility() -> None:
    noise, change, variance = np.random.default_rng(6).standard_normal(8000), np.zeros(8000), 1.0
    for row, shock in enumerate(noise):
        change[row] = 0.01 * np.sqrt(variance) * shock
        variance = 0.03 + variance * (0.85 + 0.2 * (shock < 0) * shock**2)
    model = fit_volatility("har", path_of(change), np.arange(200, 7900), 1)
    fell, rose = change.copy(), change.copy()
    fell[7990:], rose[7990:] = -np.abs(change[7990:]), np.abs(change[7990:])
    last = np.array([7999])
    assert model.forecast(path_of(fell), last) > 1.1 * model.forecast(path_of(rose), last)


@pytest.mark.parametrize("beside", ["range", "implied"])
def test_what_is_known_beside_the_changes_is_used_and_may_go_missing(beside: str) -> None:
    """The coming deviation is told by the range, or by options, and by no change."""
    rng = np.random.default_rng(7)
    true = np.exp(0.8 * np.sin(np.arange(6000) / 9)) * 0.01
    change = np.concatenate([[np.nan], (true * rng.standard_normal(6000))[:-1]])
    told = true * (np.sqrt(4 * np.log(2)) if beside == "range" else 1)
    told[5000:] = np.nan
    path = path_of(change, **{beside: told})
    model, rows = fit_volatility("har", path, np.arange(100, 4000), 1), np.arange(4000, 5900)
    log = np.log(model.forecast(path, rows))
    known, unknown = slice(0, 1000), slice(1010, None)
    follows, blind = (np.corrcoef(log[part], np.log(true[rows][part]))[0, 1] for part in (known, unknown))
    assert follows > 0.9 > blind
    plain = fit_volatility("har", path_of(change), np.arange(100, 4000), 1)
    rescaled = plain.scale / model.scale * model.forecast(path, rows[unknown])
    np.testing.assert_allclose(rescaled, plain.forecast(path_of(change), rows[unknown]), rtol=1e-12)


@both
def test_a_price_that_never_moves_gets_the_typical_deviation(kind: VolatilityKind) -> None:
    moving, _ = garch(500, 8)
    change = np.concatenate([moving, np.zeros(500)])
    path = path_of(change, np.repeat(np.array([0, 1], np.int32), 500))
    model = fit_volatility(kind, path, np.concatenate([np.arange(480), np.arange(500, 980)]), 1)
    assert np.ptp(model.forecast(path, np.arange(500, 1000))) == 0
    assert model.forecast(path, np.array([999])) == model.scale * model.typical


@both
def test_a_price_that_stands_still_keeps_a_tenth_of_its_long_run_level(kind: VolatilityKind) -> None:
    change, _ = garch(1000, 9)
    change[800:] = 0
    path = path_of(change)
    model = fit_volatility(kind, path, np.arange(700), 1)
    before, after = model.forecast(path, np.array([799, 999]))
    assert 0.01 * before < after < 0.3 * before


@both
def test_one_fit_serves_series_of_any_scale(kind: VolatilityKind) -> None:
    """A unit of the price is not a unit of risk."""
    small, _ = garch(800, 10)
    path = path_of(np.concatenate([small, 1000 * small]), np.repeat(np.array([0, 1], np.int32), 800))
    model = fit_volatility(kind, path, np.arange(100, 700), 1)
    one, thousand = (model.forecast(path, start + np.arange(1, 800)) for start in (0, 800))
    np.testing.assert_allclose(1000 * one, thousand, rtol=1e-9)


def test_too_few_rows_for_a_regression_leave_the_mean_of_the_windows() -> None:
    change, _ = garch(60, 11)
    model = fit_volatility("har", path_of(change), np.arange(50), 1)
    assert model.coefficients == ((0.25, 0.25, 0.25, 0.25, 0.0, 0.0), None, None, None)
