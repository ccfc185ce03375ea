"""What the checks say."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a person should know before training."""

    check: str
    """The check that found it: `leakage`."""
    level: Level
    """error: training on it would be wrong. warning: look at it. note: good to know."""
    message: str
    """What is the case and the way out."""
    column: str | None = None
    series: str | None = None
    date: str | None = None
    """The row it is about, ISO; the worst one of several."""
    value: float | None = None
    threshold: float | None = None
    """What `value` was compared with."""

    def __str__(self) -> str:
        """One line: the check, where, what is the case."""
        where = " ".join(part for part in (self.check, self.column, self.series, self.date) if part)
        return f"{where}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class RegimeReturns:
    """What the price did on the row after a row of a regime: what a model that knows the regime could earn."""

    column: str
    regime: str
    rows: int
    share: float
    """Of the rows whose next return is known, 0 to 1."""
    mean: float
    """Return a year."""
    deviation: float
    """Standard deviation a year."""
    sharpe: float | None
    """mean / deviation; None where nothing moves."""
    weight: float | None = None
    """What each of its rows weighs in training; None where rows are not weighted by this column."""
    share_of_weight: float | None = None
    """Of the weight of all rows, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """All findings about one table, errors first."""

    source: str
    rows: int
    series: int
    findings: tuple[Finding, ...]
    regimes: tuple[RegimeReturns, ...] = ()
    schema: Mapping[str, str] = field(default_factory=dict)
    """Column name -> type; the next snapshot is compared with it."""

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """The findings of one level."""
        return tuple(finding for finding in self.findings if finding.level == level)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings on which a run stops."""
        return self.of_level("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that a person should look at."""
        return self.of_level("warning")

    def to_json(self) -> dict[str, Any]:
        """The content of `diagnostics.json`."""
        counts = {level: len(self.of_level(level)) for level in LEVELS}
        return {"counts": counts} | asdict(self)


def by_level(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first, then as the checks ran."""
    return tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))
