"""GJR-GARCH with the distribution that the past had."""

from raytrain.engines.garch_family import GARCHFamily, GARCHFamilyParams


class GJRParams(GARCHFamilyParams):
    """How parameters are estimated and the future is drawn."""


class GJR(GARCHFamily[GJRParams]):
    """GJR-GARCH(1,1) (Glosten, Jagannathan & Runkle 1993): falls make more volatility than rises, as in equities."""

    name = "gjr"
    params_type = GJRParams
    asymmetric = True
