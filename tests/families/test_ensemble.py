import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.families.ensemble import Ensemble, EnsembleParams

LEVELS = (0.1, 0.5, 0.9)
QUANTILES = FitContext(quantiles=LEVELS)
LEARNED = EnsembleParams(weights="learned")


@pytest.fixture
def make_mixed(make_data: Callable[..., FitData]) -> Callable[..., FitData]:
    """Makes members that see the target through noise of these sizes."""

    def make(*noise: float, rows: int = 300) -> FitData:
        rng = np.random.default_rng(5)
        y = 0.01 * rng.standard_normal(rows)
        middle = y[:, None] + 0.01 * rng.standard_normal((rows, len(noise))) * noise
        forecasts = middle[..., None] + 0.01 * np.array([-1.28, 0, 1.28])
        return replace(make_data(rows, y), x=forecasts.astype(np.float32))

    return make


def weights_of(model: Ensemble, folder: Path) -> list[float]:
    """The weights that a saved model holds."""
    model.save(folder)
    return json.loads((folder / "params.json").read_text())["state"]["weights"]


def best_weights(forecasts: np.ndarray, y: np.ndarray, row_weight: np.ndarray) -> np.ndarray:
    """The oracle: least pinball loss over the simplex as a linear program (Koenker & Bassett 1978)."""
    from scipy.optimize import linprog

    members, levels = forecasts.shape[1], np.tile(LEVELS, len(y))
    table = forecasts.transpose(0, 2, 1).reshape(-1, members)
    count = len(table)
    cost = np.repeat(row_weight, len(LEVELS))
    found = linprog(
        np.r_[np.zeros(members), levels * cost, (1 - levels) * cost],
        A_eq=np.vstack(
            [np.hstack([table, np.eye(count), -np.eye(count)]), np.r_[np.ones(members), np.zeros(2 * count)]]
        ),
        b_eq=np.r_[np.repeat(y, len(LEVELS)), 1],
    )
    return found.x[:members]


@pytest.mark.parametrize("noise", [(0.5, 0.7, 1.0), (0.2, 5.0), (1.0, 1.0, 1.0, 1.0)])
def test_learned_weights_are_those_of_a_linear_program(make_mixed, tmp_path: Path, noise: tuple[float, ...]) -> None:
    data = make_mixed(*noise)
    found = weights_of(Ensemble(LEARNED).fit(data, QUANTILES), tmp_path)
    expected = best_weights(data.x.astype(float), data.y[:, 0].astype(float), np.ones(len(data.y)))
    np.testing.assert_allclose(found, expected, atol=0.005)
    assert min(found) >= 0
    assert sum(found) == pytest.approx(1, abs=1e-12)


def test_regime_weights_move_the_solution_as_they_move_the_program(make_mixed, tmp_path: Path) -> None:
    row_weight = np.where(np.arange(300) < 100, 5000, 50)
    data = replace(make_mixed(0.5, 1.0), weight=row_weight.astype(np.float32))
    found = weights_of(Ensemble(LEARNED).fit(data, QUANTILES), tmp_path)
    expected = best_weights(data.x.astype(float), data.y[:, 0].astype(float), row_weight / row_weight.mean())
    np.testing.assert_allclose(found, expected, atol=0.005)


def test_probabilities_get_the_weights_of_least_cross_entropy(make_data, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    truth = rng.uniform(0.05, 0.95, 2000)
    # The truth is the mean of these two, three parts to one.
    first = np.clip(truth + rng.uniform(-0.05, 0.05, 2000), 0.01, 0.99)
    forecasts = np.stack([first, 4 * truth - 3 * first], axis=1)[..., None].astype(np.float32)
    data = replace(make_data(2000, (rng.random(2000) < truth).astype(float)), x=forecasts)
    found = weights_of(Ensemble(LEARNED).fit(data, FitContext(task="binary")), tmp_path)
    grid = np.linspace(0, 1, 101)
    p = np.clip(grid[:, None] * data.x[:, 0, 0] + (1 - grid[:, None]) * data.x[:, 1, 0], 1e-7, 1 - 1e-7)
    loss = -np.where(data.y[:, 0] == 1, np.log(p), np.log1p(-p)).mean(axis=1)
    assert found[0] == pytest.approx(grid[loss.argmin()], abs=0.02)


def test_an_untrained_one_is_the_equal_mean(make_mixed, tmp_path: Path) -> None:
    x = make_mixed(1.0, 2.0, 3.0).x
    model = Ensemble(EnsembleParams()).untrained()
    np.testing.assert_allclose(model.predict(x)[:, 0], x.mean(axis=1), rtol=1e-5, atol=1e-9)
    model.save(tmp_path)
    assert np.array_equal(Ensemble.load(tmp_path).predict(x), model.predict(x))


def test_a_member_that_is_always_right_may_take_all(make_mixed, tmp_path: Path) -> None:
    """Its loss is 0 at the median alone, and so is the best mixture's."""
    data = make_mixed(0.0, 1.0)
    model = Ensemble(LEARNED).fit(data, FitContext(quantiles=(0.5,)))
    np.testing.assert_allclose(weights_of(model, tmp_path), [1, 0], atol=0.005)
