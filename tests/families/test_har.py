"""HAR, and what it shares with EWMA: a volatility forecast times the spread of what came, in its units."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from raytrain.engines.base import FitContext, FitData
from raytrain.errors import ConfigError
from raytrain.families import make_params
from raytrain.families.ewma import EWMA, EWMAParams
from raytrain.families.har import HAR, HARParams
from raytrain.features.history import History
from raytrain.features.volatility import fit_volatility

LEVELS = (0.1, 0.5, 0.9)
Teach = Callable[..., FitData]
MakeHistory = Callable[..., History]


def calm_and_wild(rows: int, seed: int) -> np.ndarray:
    """Changes whose deviation is 0.2 % and 2 % in turns of 60 rows."""
    return np.random.default_rng(seed).standard_normal(rows) * np.where(np.arange(rows) // 60 % 2, 0.02, 0.002)


def test_quantiles_are_those_of_the_standardised_targets(make_history: MakeHistory, teach: Teach) -> None:
    history = make_history(calm_and_wild(900, 1))
    data = teach(history, np.arange(100, 800), (5,))
    model = HAR(HARParams()).fit(data, FitContext(quantiles=LEVELS, horizons=(5,)))
    volatility = fit_volatility("har", history.path, np.arange(100, 800), 5)
    standardised = data.y[:, 0] / volatility.forecast(history.path, np.arange(100, 800))
    expected = (
        np.quantile(standardised, LEVELS, method="hazen") * volatility.forecast(history.path, np.array([850]))[:, None]
    )
    late = replace(history, windows=replace(history.windows, ends=np.array([850])))
    np.testing.assert_allclose(model.predict(late)[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("family", [HAR(HARParams()), EWMA(EWMAParams())], ids=["har", "ewma"])
def test_the_band_breathes_with_the_market(family: HAR | EWMA, make_history: MakeHistory, teach: Teach) -> None:
    history = make_history(calm_and_wild(1500, 2))
    model = family.fit(teach(history, np.arange(100, 1200)), FitContext(quantiles=LEVELS))
    values = model.predict(history)
    band = values[:, 0, 2] - values[:, 0, 0]
    late_in_wild, late_in_calm = (np.arange(1200, 1500) % 120 > start for start in (110, 50))
    late_in_calm &= np.arange(1200, 1500) % 120 < 60
    assert np.median(band[1200:][late_in_wild]) > 3 * np.median(band[1200:][late_in_calm])


def test_several_horizons_at_once_equal_one_by_one(make_history: MakeHistory, teach: Teach) -> None:
    history = make_history(calm_and_wild(700, 3), calm_and_wild(500, 4))
    rows = np.concatenate([np.arange(100, 600), np.arange(800, 1100)])
    context = FitContext(quantiles=LEVELS)
    both = HAR(HARParams()).fit(teach(history, rows, (1, 5)), replace(context, horizons=(1, 5))).predict(history)
    five = HAR(HARParams()).fit(teach(history, rows, (5,)), replace(context, horizons=(5,))).predict(history)
    assert both.shape == (1200, 2, 3)
    assert np.array_equal(both[:, 1:], five)
    assert not np.array_equal(both[:, :1], five)


def test_weights_are_counts(make_history: MakeHistory, teach: Teach) -> None:
    """Rows that weigh a thousand times as much as others decide alone where the quantiles lie."""
    history, rows = make_history(calm_and_wild(900, 5)), np.arange(100, 800)
    risen = history.path.change[rows + 1] > 0
    model = HAR(HARParams()).fit(
        teach(history, rows, weight=np.where(risen, 1000.0, 1.0)), FitContext(quantiles=(0.1,))
    )
    assert (model.predict(history)[1:] > 0).all()


def test_it_does_not_divide_by_what_it_forecasts() -> None:
    with pytest.raises(ConfigError, match="scale"):
        make_params("har", {"scale": "ewma"})
