"""`diagnostics.json` -> what `diagnostics.jinja` shows."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from raytrain.report.words import count, day, significant

MAX_FINDINGS = 200
WORDS = {
    "target_alignment": "target alignment",
    "lead_lag": "lead and lag",
    "type_drift": "type drift",
    "bad_print": "bad prints",
    "gap": "calendar gaps",
    "ended": "feeds that ended",
    "ended_series": "series that ended",
    "rare_regime": "rare regimes",
    "missing": "missing values",
    "constant": "constant columns",
    "duplicate": "duplicate columns",
    "outlier": "outliers",
    "split": "splits",
}
"""What a check is called on the page; `leakage` is called so."""


def section(diagnostics: Mapping[str, Any]) -> dict[str, Any]:
    """The findings, the worst first, and the returns by regime.

    Args:
        diagnostics: the content of `diagnostics.json`.
    """
    findings = [_row(finding) for finding in diagnostics["findings"]]
    regimes = [(name, list(rows)) for name, rows in groupby(diagnostics["regimes"], key=lambda one: one["column"])]
    return {
        "counts": diagnostics["counts"],
        "findings": findings[:MAX_FINDINGS],
        "num_findings": len(findings),
        "regimes": regimes,
    }


def _row(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "level": finding["level"],
        "check": WORDS.get(finding["check"], finding["check"]),
        "where": ", ".join(part for part in (finding["column"], finding["series"]) if part),
        "date": day(finding["date"]),
        "value": _shown(finding["value"]),
        "threshold": _shown(finding["threshold"]),
        "message": finding["message"],
    }


def _shown(value: float | None) -> str:
    """A count of rows in full, anything smaller by three digits."""
    return count(round(value)) if value is not None and abs(value) >= 1000 else significant(value)
