"""GARCH, and what it shares with GJR: parameters of `arch`, a filter that stays behind, simulated futures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.engines.garch_family import Recursion, estimate
from raytrain.errors import FitError
from raytrain.families.garch import GARCH, GARCHParams
from raytrain.features.history import History

LEVELS = (0.1, 0.5, 0.9)
Teach = Callable[..., FitData]
MakeHistory = Callable[..., History]


def simulated(rows: int, seed: int, unit: float = 0.01) -> np.ndarray:
    """Changes of a GARCH(1,1) with Student's t of 6 degrees of freedom."""
    rng = np.random.default_rng(seed)
    noise, change, variance = rng.standard_t(6, rows) / np.sqrt(1.5), np.zeros(rows), 1.0
    for row in range(rows):
        change[row] = np.sqrt(variance) * noise[row]
        variance = 0.05 + 0.1 * change[row] ** 2 + 0.85 * variance
    return unit * change


def at(history: History, rows: np.ndarray) -> History:
    return replace(history, windows=replace(history.windows, ends=rows))


def test_the_true_parameters_are_found() -> None:
    found = estimate(simulated(20_000, 1), 250, asymmetric=False)
    assert found is not None
    assert found.gamma == 0
    assert found.omega == pytest.approx(0.05e-4, rel=0.3)
    assert found.alpha == pytest.approx(0.1, abs=0.02)
    assert found.beta == pytest.approx(0.85, abs=0.03)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_the_filter_agrees_with_arch(asymmetric: bool) -> None:
    from arch.univariate import GARCH as Process
    from arch.univariate import ZeroMean

    change = 100 * simulated(800, 2)
    values = [0.05, 0.06, *([0.08] if asymmetric else []), 0.85]
    fixed = ZeroMean(change, volatility=Process(p=1, o=int(asymmetric), q=1), rescale=False).fix(values)
    recursion = Recursion(0.05, 0.06, 0.08 if asymmetric else 0.0, 0.85, first=1.0)
    next_row = recursion.filtered(change)[:-1]
    # arch starts from another variance; after a hundred rows nothing is left of it.
    np.testing.assert_allclose(np.sqrt(next_row)[100:], fixed.conditional_volatility[101:], rtol=1e-6)


def test_unknown_changes_are_passed_over() -> None:
    change, recursion = simulated(300, 3), Recursion(1e-6, 0.1, 0.05, 0.85, first=1e-4)
    gaps = np.insert(change, [0, 100, 100], np.nan)
    found = recursion.filtered(gaps)
    assert found[0] == recursion.first
    assert np.array_equal(found[np.isfinite(gaps)], recursion.filtered(change))
    assert found[101] == found[102] == found[100]


@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_quantiles_are_those_of_futures_drawn_one_by_one(horizon: int, make_history: MakeHistory, teach: Teach) -> None:
    history = make_history(simulated(2500, 4))
    context = FitContext(quantiles=LEVELS, horizons=(horizon,))
    model = GARCH(GARCHParams(num_paths=20_000)).fit(teach(history, np.arange(100, 2000), (horizon,)), context)
    recursion = model._own[0].recursion
    variance = recursion.filtered(history.path.change)
    shock = history.path.change[101:2001] / np.sqrt(variance[100:2000])
    now, total = np.full(20_000, variance[2300]), np.zeros(20_000)
    for drawn in np.random.default_rng(5).choice(shock, (horizon, 20_000)):
        total += np.sqrt(now) * drawn
        now = recursion.omega + recursion.alpha * now * drawn**2 + recursion.beta * now
    spread = np.ptp(np.quantile(total, LEVELS))
    np.testing.assert_allclose(
        model.predict(at(history, np.array([2300])))[0, 0], np.quantile(total, LEVELS), atol=0.03 * spread
    )


def test_bands_hold_what_they_promise(make_history: MakeHistory, teach: Teach) -> None:
    change = simulated(6000, 6)
    history = make_history(change)
    model = GARCH(GARCHParams()).fit(teach(history, np.arange(3000)), FitContext(quantiles=LEVELS))
    values = model.predict(at(history, np.arange(3000, 5999)))[:, 0]
    inside = (change[3001:] > values[:, 0]) & (change[3001:] < values[:, 2])
    assert inside.mean() == pytest.approx(0.8, abs=0.02)
    wide = values[:, 2] - values[:, 0] > np.median(values[:, 2] - values[:, 0])
    assert inside[wide].mean() == pytest.approx(0.8, abs=0.03)


def test_what_comes_after_the_training_rows_is_not_read(make_history: MakeHistory, teach: Teach) -> None:
    """Also when it lies between them, as in a split that trains on both sides of a test block."""
    change = simulated(1500, 7)
    rows = np.concatenate([np.arange(500), np.arange(700, 1200)])
    other = change.copy()
    other[505:700], other[1205:] = 5.0, 5.0
    context, params = FitContext(quantiles=LEVELS, horizons=(5,)), GARCHParams()
    one, two = (GARCH(params).fit(teach(make_history(path), rows, (5,)), context) for path in (change, other))
    assert one._own[0].recursion == two._own[0].recursion
    late = make_history(change), make_history(np.where(np.arange(1500) > 1300, 5.0, change))
    assert np.array_equal(*(one.predict(at(history, np.arange(1301))) for history in late))


def test_series_that_cannot_be_estimated_go_with_riskmetrics(make_history: MakeHistory, teach: Teach) -> None:
    """Too short, still, or unseen: a defined result that follows the volatility all the same."""
    long, short, still, unseen = simulated(1200, 8), simulated(120, 9, 3.0), np.zeros(600), simulated(400, 10)
    history = make_history(long, short, still, unseen)
    data = teach(history, np.flatnonzero(history.path.series < 3))
    model = GARCH(GARCHParams()).fit(data, FitContext(quantiles=LEVELS))
    assert list(model._own) == [0]
    values = model.predict(history)[:, 0]
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=1) >= 0).all()
    band = values[:, 2] - values[:, 0]
    size = [np.median(band[history.path.series == number][60:]) for number in range(4)]
    assert size[1] > 100 * size[0]
    assert 0.3 * size[0] < size[3] < 3 * size[0]


def test_a_search_that_does_not_converge_goes_with_riskmetrics(
    make_history: MakeHistory, teach: Teach, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arch.univariate import ZeroMean

    fit = ZeroMean.fit
    monkeypatch.setattr(ZeroMean, "fit", lambda model, **how: fit(model, **how, options={"maxiter": 1}))
    history = make_history(simulated(800, 11))
    model = GARCH(GARCHParams()).fit(teach(history, np.arange(700)), FitContext(quantiles=LEVELS))
    assert model._own == {}
    assert model._rest.recursion.beta == 0.94
    assert np.isfinite(model.predict(history)).all()


def test_a_stop_between_series_keeps_those_that_are_done(
    make_history: MakeHistory, teach: Teach, tmp_path: Path
) -> None:
    history = make_history(*(simulated(500, seed) for seed in (12, 13, 14)))
    asked = iter([False, True])
    data = teach(history, np.arange(1500))
    model = GARCH(GARCHParams()).fit(data, FitContext(quantiles=LEVELS, should_stop=lambda: next(asked)))
    assert list(model._own) == [0]
    values = model.predict(history)
    assert np.isfinite(values).all()
    model.save(tmp_path)
    assert np.array_equal(GARCH.load(tmp_path).predict(history), values)


def test_futures_are_drawn_as_often_as_rows_weigh(make_history: MakeHistory, teach: Teach) -> None:
    history, rows = make_history(simulated(1000, 15)), np.arange(50, 900)
    fell = history.path.change[rows + 1] < 0
    weighed = teach(history, rows, weight=np.where(fell, 1000.0, 1.0))
    model = GARCH(GARCHParams()).fit(weighed, FitContext(quantiles=(0.9,)))
    assert (model.predict(history) < 0).all()


def test_no_known_change_is_an_error(make_history: MakeHistory, teach: Teach) -> None:
    history = make_history(simulated(300, 16))
    data = teach(history, np.arange(200))
    ended = replace(
        history, path=history.path.shorter(1), windows=replace(history.windows, ends=np.zeros(200, dtype=int))
    )
    with pytest.raises(FitError, match="start the first fold later"):
        GARCH(GARCHParams()).fit(replace(data, x=ended), FitContext())
