"""Where a check draws its line."""

from typing import Self

from pydantic import Field, model_validator

from raytrain.config import Section


class DiagnosticsConfig(Section):
    """Thresholds of the checks before training."""

    max_missing: float = Field(0.5, ge=0, le=1)
    """A column may be unknown on this share of its rows."""
    max_unknown_tail: int = Field(30, ge=1)
    """A feed that was known may be unknown on this many newest rows, as one of monthly figures is; more and it has
    ended."""
    leak_warning: float = Field(0.6, gt=0, le=1)
    """Rank correlation of a feature with a target, either sign, above which a leak is suspected. 0.57 is a direction
    right 7 times in 10, which no honest forecast of a price reaches."""
    leak_error: float = Field(0.9, gt=0, le=1)
    """Rank correlation above which a feature knows the target."""
    lead_lag: float = Field(0.15, gt=0, le=1)
    """Rank correlation with the target's next step above which a column is compared with itself on the same step."""
    lead_lag_ratio: float = Field(2.0, ge=1)
    """Such a column is suspicious when it goes with the next step this many times as closely as with the same one."""
    bad_print_z: float = Field(7.0, gt=0)
    """Size of a move, in robust deviations of the last quarter's moves, that may be a wrong price if it is undone."""
    bad_print_undone: float = Field(0.75, gt=0, le=1)
    """Share of such a move that the next row takes back."""
    outlier_z: float = Field(15.0, gt=0)
    """Size of a move that stays, in the same deviations, that is worth a look: an unadjusted split or a real shock."""
    max_missing_days: int = Field(2, ge=0)
    """Business days in a row without a bar that holidays explain."""
    max_closed_days: float = Field(4.0, gt=0)
    """Days without a bar that weekends and holidays explain where bars are closer than a day and stop at night."""
    regimes: tuple[str, ...] = ()
    """Columns that name the market's regime; those of few values with `regime` in their name when none is given."""
    min_regime_rows: int = Field(100, ge=2)
    """A regime on fewer rows teaches nothing that holds."""
    max_rows: int = Field(50_000, ge=1000)
    """Correlations look at no more rows than this, drawn evenly."""

    @model_validator(mode="after")
    def _error_above_warning(self) -> Self:
        if self.leak_error < self.leak_warning:
            raise ValueError(f"leak_error must be at least leak_warning = {self.leak_warning:g}")
        return self
