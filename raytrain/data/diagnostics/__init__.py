"""What is suspicious about a table before anything is trained on it: small pure checks, each a list of findings."""

from raytrain.data.diagnostics.config import DiagnosticsConfig
from raytrain.data.diagnostics.finding import Diagnostics, Finding, Level, RegimeReturns

__all__ = ["Diagnostics", "DiagnosticsConfig", "Finding", "Level", "RegimeReturns"]
