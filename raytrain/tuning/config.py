"""How parameters are searched."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from raytrain.config import Section

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _a_time(value: Any) -> str:
    text = str(value).strip()
    found = _BUDGET.fullmatch(text)
    if not found or not float(found[1]):
        raise ValueError("must be a time above 0, such as 90s, 30m or 2h")
    return text


Budget = Annotated[str, BeforeValidator(_a_time)]
"""Wall time: a number and one of s, m, h; seconds when none is given."""


class TuneConfig(Section):
    """A search for better parameters of one family on one target."""

    trials: int = Field(50, ge=1)
    """Parameter sets to try, those of earlier runs of the same search included."""
    budget: Budget = "30m"
    """Wall time of the search: a number and one of s, m, h. Trials under way at its end are dropped, their finished
    folds are kept; the comparison of the winner with the default follows."""
    metric: str = "skill"
    """What is optimised over the search folds: `skill`, `pinball_loss`, `rmse`, `mae`; of a threshold `skill`, `brier`,
    `log_loss`."""
    holdout_folds: int = Field(2, ge=1)
    """The newest folds, which the search never sees; on them the winner is compared with the default."""
    pruning: bool = True
    """Whether trials that are worse than the others after the same folds are stopped (ASHA)."""
    reduction: float = Field(2.0, gt=1)
    """Of the trials that reach a rung, the best `1 / reduction` go on."""
    concurrency: int = Field(0, ge=0)
    """Trials at once, at most; as many as the cluster has room for when 0."""
    timeout_s: float | None = Field(None, gt=0)
    """Seconds after which a trial's fit of one fold is killed; `cluster.timeout_s` when not given."""
    space: dict[str, Any] = {}
    """Parameter -> what is searched, over the family's own space: `{low: 4, high: 31, log: true}`, a list of choices,
    or `null` to leave the parameter as it is."""
    confidence: float = Field(0.9, gt=0, lt=1)
    """Two-sided confidence of the winner's gain over the default, whose lower end must lie above 0."""
    seed: int = 42
    """Of the search; fits have the run's own seeds."""

    @property
    def budget_s(self) -> float:
        """The budget in seconds."""
        number, unit = re.fullmatch(_BUDGET, self.budget).groups()  # type: ignore[union-attr]
        return float(number) * _SECONDS[unit or "s"]
