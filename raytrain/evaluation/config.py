"""How forecasts are turned into a strategy, and when the live ones are called worse than the back-test's."""

from typing import Literal, Self

from pydantic import Field, model_validator

from raytrain.config import Section


class EvaluationConfig(Section):
    """What the scores mean by a strategy and by drift."""

    strategy: Literal["sign", "size"] = "sign"
    """`sign`: hold the whole capital on the side of the median. `size`: hold in proportion to median / volatility.
    A family that takes positions of its own is judged by them."""
    cost_bp: float = Field(0.0, ge=0)
    """Cost of trading the whole capital once, in basis points of its value."""
    volatility_rows: int = Field(63, ge=10)
    """Newest rows whose one-row changes give the volatility behind `size`."""
    full_size: float = Field(0.25, gt=0)
    """Median / volatility at which `size` holds the whole capital; 0.25 is a direction right six times in ten."""
    live_confidence: float = Field(0.99, gt=0.5, lt=1)
    """Share of the back-test's stretches that must be better before live forecasts are called worse than it."""
    min_live_dates: int = Field(5, ge=1)
    """Dates with a known outcome below which live forecasts are shown and not judged."""
    max_live_dates: int = Field(60, ge=5)
    """Newest such dates that are judged: a change must show among those that came before it."""
    drift_rows: int = Field(60, ge=10)
    """Newest rows of each series whose features are compared with all earlier ones."""

    @model_validator(mode="after")
    def _some_dates_are_judged(self) -> Self:
        if self.max_live_dates < self.min_live_dates:
            raise ValueError(f"max_live_dates must be at least min_live_dates = {self.min_live_dates}")
        return self
