"""Thresholds."""

import pytest
from pydantic import ValidationError

from raytrain.data.diagnostics import DiagnosticsConfig


def test_an_error_needs_at_least_what_a_warning_needs() -> None:
    with pytest.raises(ValidationError, match=r"leak_error must be at least leak_warning = 0\.6"):
        DiagnosticsConfig(leak_error=0.5)
