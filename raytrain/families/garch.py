"""GARCH with the distribution that the past had."""

from raytrain.engines.garch_family import GARCHFamily, GARCHFamilyParams


class GARCHParams(GARCHFamilyParams):
    """How parameters are estimated and the future is drawn."""


class GARCH(GARCHFamily[GARCHParams]):
    """GARCH(1,1) (Bollerslev 1986): falls and rises of a size make the same volatility."""

    name = "garch"
    params_type = GARCHParams
    asymmetric = False
