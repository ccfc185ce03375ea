"""What a recipe must reach to be promoted."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, FiniteFloat, field_validator, model_validator

from raytrain.config import Section, merge

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
AtLeast0 = Annotated[FiniteFloat, Field(ge=0)]


class GateLine(Section):
    """The absolute thresholds of one horizon."""

    mape_max: Annotated[FiniteFloat, Field(gt=0)]
    """MAPE of the price level at most, as a fraction: 0.03 is 3 %."""
    sharpe_min: FiniteFloat
    """Annualised Sharpe ratio at least."""


class WindowConfig(Section):
    """A stretch of dates that a recipe must come through."""

    first: date
    """First day."""
    last: date
    """Last day, included."""

    @model_validator(mode="after")
    def _has_days(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"`last` must not lie before `first` = {self.first}")
        return self


class LeakConfig(Section):
    """What is too good to be true: a recipe above any of these is held until somebody has looked for a leak."""

    skill: dict[Annotated[int, Field(ge=1)], AtLeast0] = Field({5: 0.08, 20: 0.10}, min_length=1)
    """Rows ahead -> skill over naive at most, as a fraction; between two horizons on the line between them, beyond them
    as at the nearest. On commodities honest forecasts reach 0.04."""
    skill_over_har: AtLeast0 = 0.05
    """Where HAR, which reads the path of prices only, has much skill itself, so much more than HAR's is allowed."""
    direction: Share = 0.70
    """Share of right directions at most..."""
    direction_margin: Share = 0.05
    """... or so much more than always naming the commoner direction gets, if that is more."""
    roc_auc: Share = 0.90
    """Of threshold targets: area under the ROC curve at most. 0.9 is a rank correlation of 0.8 with the outcome."""
    warnings: bool = True
    """Whether a leak that the diagnostics warn of holds every recipe."""


class GatesConfig(Section):
    """What a recipe must reach to be promoted."""

    thresholds: dict[str, GateLine | None] = {
        "1w": GateLine(mape_max=0.03, sharpe_min=1.2),
        "1m": GateLine(mape_max=0.04, sharpe_min=1.0),
        "3m": GateLine(mape_max=0.06, sharpe_min=0.8),
        "6m": GateLine(mape_max=0.08, sharpe_min=0.6),
        "12m": GateLine(mape_max=0.12, sharpe_min=0.5),
    }
    """Absolute thresholds by the horizon's label. What is given is laid over these lines, so that changing one does not
    drop the others; `null` drops a line. A horizon without a line is judged by the relative rules alone."""
    min_sharpe_over_long: FiniteFloat | None = None
    """How far the Sharpe ratio must lie above that of always long, where the horizon has a line. When not given it is
    only shown; but a family that takes positions must beat always long at every horizon."""
    min_deflated_sharpe: Share | None = 0.95
    """Probability at least that the Sharpe ratio is not the luck of the best of all recipes tried; where the horizon
    has a line, or the family takes positions. `null` for no such rule."""
    max_mape_drift: AtLeast0 = 0.20
    """How much worse than the champion's the MAPE may be, as a fraction of the champion's."""
    max_over_random_walk: AtLeast0 = 0.01
    """How much worse than the random walk's the MAPE of a return's median may be, as a fraction of the random walk's:
    what a forecast of returns is worth lies in its spread. A price target must be better than the random walk."""
    confidence: Annotated[FiniteFloat, Field(gt=0, lt=1)] = 0.9
    """Two-sided confidence of all intervals: a difference must be above 0 at its lower end. Also 1 - twice the
    probability that the best of all recipes tried looks as good by luck."""
    min_fold_wins: Share = 0.5
    """Share of folds, 0 to 1, in which the loss must be below naive's, or the net return of positions above 0."""
    min_skill_over_har: FiniteFloat | None = 0.0
    """How far the loss of a quantile family must lie below HAR's, as a fraction of it, where HAR is in the run; more
    than this. `null` for no such rule."""
    coverage_tolerance: Share | None = 0.05
    """How far the share of outcomes between the outer quantiles may lie from its nominal value, beyond the error with
    which it is known. `null` for no such rule."""
    windows: dict[str, WindowConfig | None] = {
        "2008 Lehman": WindowConfig(first=date(2008, 9, 1), last=date(2009, 3, 31)),
        "2011 debt crisis": WindowConfig(first=date(2011, 7, 25), last=date(2011, 10, 31)),
        "2014 oil": WindowConfig(first=date(2014, 10, 1), last=date(2015, 3, 31)),
        "2015 yuan": WindowConfig(first=date(2015, 8, 10), last=date(2015, 10, 30)),
        "2018 volatility": WindowConfig(first=date(2018, 1, 26), last=date(2018, 4, 30)),
        "2020 Covid": WindowConfig(first=date(2020, 2, 19), last=date(2020, 6, 30)),
        "2022 Ukraine": WindowConfig(first=date(2022, 2, 24), last=date(2022, 7, 29)),
    }
    """Crises that a recipe must come through, where the judged dates hold them whole. Laid over these like
    `thresholds`; `null` drops one."""
    max_window_loss: AtLeast0 = 0.10
    """How far above naive's the loss may be in a crisis, as a fraction of naive's; of a family with positions, the
    share of the capital that may be lost there, costs in."""
    max_window_drawdown: AtLeast0 = 0.05
    """How far the drawdown in a crisis may exceed that of always long, as a fraction of the capital."""
    leak: LeakConfig = LeakConfig()
    max_device_difference: AtLeast0 = 0.01
    """How far a forecast of the accelerator may lie from the same model's on the CPU, as a fraction of the deviation of
    its forecasts."""

    @field_validator("thresholds", "windows", mode="before")
    @classmethod
    def _over_the_table(cls, given: Any, info: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        table = cls.model_fields[info.field_name].default
        return merge(_plain(table), _plain(given))

    @property
    def luck(self) -> float:
        """Probability at most with which a recipe that is no better may seem so: one side of `confidence`."""
        return round((1 - self.confidence) / 2, 12)

    def leak_skill(self, horizon: int) -> float:
        """The skill above which a leak is suspected at this horizon, in rows."""
        rows = sorted(self.leak.skill)
        return float(np.interp(horizon, rows, [self.leak.skill[one] for one in rows]))


def _plain(lines: Mapping[str, Any]) -> dict[str, Any]:
    return {name: line.model_dump() if isinstance(line, Section) else line for name, line in lines.items()}
