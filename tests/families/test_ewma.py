"""EWMA: the latest changes count most, as RiskMetrics has it."""

from collections.abc import Callable

import numpy as np

from raytrain.engines.base import FitContext, FitData
from raytrain.families.ewma import EWMA, EWMAParams
from raytrain.features.history import History


def test_bands_are_as_wide_as_riskmetrics_says(
    make_history: Callable[..., History], teach: Callable[..., FitData]
) -> None:
    change = np.random.default_rng(1).normal(0, 0.01, 1000)
    change[900] = 0.2
    history = make_history(change)
    model = EWMA(EWMAParams()).fit(teach(history, np.arange(50, 800)), FitContext(quantiles=(0.1, 0.9)))
    values = model.predict(history)[:, 0]
    band = values[:, 1] - values[:, 0]
    weights = 0.94 ** np.arange(1000)
    variance = [(weights[: row + 1][::-1] * change[: row + 1] ** 2)[1:].sum() for row in (899, 900, 911, 960)]
    np.testing.assert_allclose(
        band[[900, 911, 960]] / band[899], np.sqrt(variance[1:]) / np.sqrt(variance[0]), rtol=1e-5
    )
