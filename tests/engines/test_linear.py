from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.linear import (
    PENALTIES,
    Indicators,
    LinearForecast,
    RidgePath,
    fit_linear,
    logistic_path,
    probability,
    weighted_quantiles,
)
from raytrain.engines.training import teaching_rows

pytestmark = pytest.mark.native
BOTH = frozenset({"regression", "binary"})


def noisy(num_rows: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((num_rows, 4), dtype=np.float32)
    return x, x[:, 0] - 2.0 * x[:, 1] + 3 + rng.standard_normal(num_rows), rng.random(num_rows).astype(np.float32)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_path_is_scikit_learns_ridge(penalty: float, weighted: bool) -> None:
    from sklearn.linear_model import Ridge

    x, y, weight = noisy()
    share = weight / weight.sum() if weighted else np.full(len(y), 1 / len(y))
    plain = Ridge(alpha=penalty).fit(x.astype(float), y, sample_weight=share)
    line = RidgePath(x, y, weight if weighted else None)(penalty)
    np.testing.assert_allclose(line.slope, plain.coef_, rtol=1e-6)
    np.testing.assert_allclose(line.score(x), plain.predict(x.astype(float)), rtol=1e-6)


def test_repeated_columns_have_a_solution() -> None:
    x, y, _ = noisy()
    line = RidgePath(np.hstack([x, x, np.zeros_like(x)]), y, None)(1e-6)
    np.testing.assert_allclose(line.slope[:4], line.slope[4:8], rtol=1e-6)
    np.testing.assert_allclose(line.slope[:4] * 2, RidgePath(x, y, None)(5e-7).slope, rtol=1e-6)


def test_the_logistic_path_is_where_the_gradient_vanishes() -> None:
    x, y, weight = noisy()
    label = (y > 3).astype(float)
    solve = logistic_path(x, label, weight)
    for penalty in (1.0, 0.1):
        line = solve(penalty)
        residual = weight * (1 / (1 + np.exp(-line.score(x))) - label)
        np.testing.assert_allclose(x.T @ residual / len(x) + penalty * line.slope, 0, atol=1e-4)
        assert abs(residual.mean()) < 1e-4


def test_weighted_quantiles_are_those_of_repeated_values() -> None:
    values, times = np.array([3.0, -1.0, 0.5, 9.0]), np.array([3, 1, 1, 2])
    levels = (0.1, 0.5, 0.9)
    alike = weighted_quantiles(values, np.ones(4, dtype=np.float32), levels)
    np.testing.assert_allclose(alike, np.quantile(values, levels, method="hazen"))
    median = weighted_quantiles(values, times.astype(np.float32), (0.5,))
    assert median == pytest.approx(np.median(np.repeat(values, times)))


def test_quantiles_are_of_what_unseen_rows_missed(rows) -> None:
    data: FitData = rows(dates=200)
    context = FitContext(quantiles=(0.1, 0.5, 0.9))
    head, tail = teaching_rows(data, context, BOTH, 0.25)
    found = fit_linear(data, teaching_rows(data, context, BOTH, 0.25), context, (0.01,))
    seen = RidgePath(data.x[head], data.y[head, 0].astype(float), None)(0.01)
    missed = data.y[tail, 0] - seen.score(data.x[tail])
    np.testing.assert_allclose(found.around, np.quantile(missed, context.quantiles, method="hazen"))
    whole = RidgePath(data.x, data.y[:, 0].astype(float), None)(0.01)
    assert np.array_equal(found.line.slope, whole.slope)


def test_the_penalty_is_the_best_on_the_rows_kept_aside(rows) -> None:
    data: FitData = rows(dates=60)
    noise = replace(data, y=np.random.default_rng(1).standard_normal(data.y.shape).astype(np.float32))
    for chosen, sample in (("weak", data), ("strong", noise)):
        parts = teaching_rows(sample, FitContext(), BOTH, 0.3)
        x_aside, y_aside = sample.x[parts.tail], sample.y[parts.tail, 0]
        path = RidgePath(sample.x[parts.head], sample.y[parts.head, 0].astype(float), None)
        losses = [np.mean((y_aside - path(penalty).score(x_aside)) ** 2) for penalty in PENALTIES]
        best = PENALTIES[int(np.argmin(losses))]
        assert (best > 1) == (chosen == "strong")
        expected = RidgePath(sample.x, sample.y[:, 0].astype(float), None)(best)
        assert np.array_equal(fit_linear(sample, parts, FitContext(), PENALTIES).line.slope, expected.slope)


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_it_survives_json_to_the_bit(rows, task) -> None:
    import json

    data: FitData = rows()
    data = replace(data, y=(data.y > 0).astype(np.float32)) if task == "binary" else data
    context = FitContext(task=task, quantiles=(0.1, 0.9), categorical=(3,))
    forecast = fit_linear(data, teaching_rows(data, context, BOTH, 0.25), context, PENALTIES)
    read = LinearForecast.from_json(json.loads(json.dumps(forecast.to_json())))
    assert np.array_equal(read.predict(data.x), forecast.predict(data.x))


def test_codes_become_columns_and_an_unseen_code_none_of_them(rows) -> None:
    data: FitData = rows(dates=3)
    x = np.array([[0.5, 2], [1, 5], [2, 5], [3, 2], [4, 9], [5, 2]], dtype=np.float32)
    weight = np.array([1, 1, 1, 1, 0, 1], dtype=np.float32)
    indicators = Indicators.fit(replace(data, x=x, weight=weight), (1,))
    assert indicators.codes == ((1, (2.0, 5.0)),)
    assert indicators.apply(x).tolist() == [[0.5, 1, 0], [1, 0, 1], [2, 0, 1], [3, 1, 0], [4, 0, 0], [5, 1, 0]]
    assert indicators.apply(x).dtype == np.float32


def test_without_codes_nothing_is_copied(rows) -> None:
    data: FitData = rows()
    assert Indicators.fit(data, ()).apply(data.x) is data.x


def test_log_odds_of_any_size_have_a_probability() -> None:
    odds = np.array([-1e9, -2.0, 0.0, 2.0, 1e9])
    np.testing.assert_allclose(probability(odds), [0, 1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2), 1])
