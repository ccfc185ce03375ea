"""Heterogeneous autoregression of the volatility: strong, simple and quick."""

from raytrain.engines.volatility_family import UnscaledParams, VolatilityFamily


class HARParams(UnscaledParams):
    """Nothing to choose but the scope."""


class HAR(VolatilityFamily[HARParams]):
    """HAR volatility (Corsi 2009) x empirical quantiles of the standardised targets.

    The forecast of the spread is `raytrain.features.volatility.fit_volatility`'s; that of the median is what the market
    gave on average per unit of volatility.
    """

    name = "har"
    params_type = HARParams
    kind = "har"
