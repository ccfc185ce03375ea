"""Exponentially weighted volatility: RiskMetrics with an empirical distribution."""

from raytrain.engines.volatility_family import UnscaledParams, VolatilityFamily


class EWMAParams(UnscaledParams):
    """Nothing to choose but the scope."""


class EWMA(VolatilityFamily[EWMAParams]):
    """EWMA volatility of decay 0.94 (J.P. Morgan 1996) x empirical quantiles of the standardised targets.

    The empirical quantiles are those of volatility-weighted historical simulation (Hull & White 1998).
    """

    name = "ewma"
    params_type = EWMAParams
    kind = "ewma"
