"""GJR: a fall makes more volatility than a rise of the same size."""

from collections.abc import Callable

import numpy as np

from raytrain.engines.base import FitContext, FitData
from raytrain.families.garch import GARCH, GARCHParams
from raytrain.families.gjr import GJR, GJRParams
from raytrain.features.history import History


def test_a_fall_widens_the_band_more_than_a_rise(
    make_history: Callable[..., History], teach: Callable[..., FitData]
) -> None:
    noise, change, variance = np.random.default_rng(1).standard_normal(4000), np.zeros(4000), 1.0
    for row in range(4000):
        change[row] = np.sqrt(variance) * noise[row]
        variance = 0.05 + (0.03 + 0.15 * (noise[row] < 0)) * change[row] ** 2 + 0.84 * variance
    bands = {}
    for name, family in {"gjr": GJR(GJRParams()), "garch": GARCH(GARCHParams())}.items():
        model = family.fit(teach(make_history(change), np.arange(3900)), FitContext(quantiles=(0.1, 0.9)))
        if name == "gjr":
            assert 0.1 < model._own[0].recursion.gamma < 0.2
        for sign in (-1, 1):
            shocked = change.copy()
            shocked[-1] = sign * 4
            values = model.predict(make_history(shocked))[-1, 0]
            bands[name, sign] = values[1] - values[0]
    assert bands["gjr", -1] > 1.3 * bands["gjr", 1]
    assert bands["garch", -1] == bands["garch", 1]
