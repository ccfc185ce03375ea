"""How a search is told what to do."""

from typing import Any

import pytest
from pydantic import ValidationError

from raytrain.tuning.config import TuneConfig


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("45", 45), (45, 45)])
def test_a_budget_is_a_time(text: Any, seconds: float) -> None:
    assert TuneConfig(budget=text).budget_s == seconds


@pytest.mark.parametrize("text", ["soon", "0m", "-3m", "3 days", "", "1h30m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="must be a time above 0, such as 90s, 30m or 2h"):
        TuneConfig(budget=text)
